//! MPEG transport streams (ISO/IEC 13818-1): bytes in, bytes or descriptions out.
//!
//! These modules do no I/O and read no clock. They accept any bytes: damaged input yields `None` or fewer packets, never a
//! panic, in time linear in its length.

pub mod packet;
pub mod pes;
pub mod psi;

pub mod audio;
pub mod codec;

pub mod frame_rate;
pub mod nal;
pub mod video;

pub mod h264;
pub mod hevc;
pub mod mpeg2;

pub mod elementary;
pub mod frames;
pub mod picture_size;

pub mod alignment;
pub mod probe;
pub mod scan;

pub mod key_frames;
pub mod repacketize;

mod sample_format;
pub mod samples;
mod units;

pub mod live;
pub mod retime;
pub mod writer;
