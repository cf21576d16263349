//! MPEG transport streams (ISO/IEC 13818-1): bytes in, bytes or descriptions out.
//!
//! Nothing here touches a file, a clock or a thread, and nothing here trusts its input: any bytes give an answer or
//! none, in time linear in their number.

pub mod packet;
pub mod psi;

pub mod bits;
pub mod pes;

pub mod audio;
pub mod h264;
pub mod hevc;

pub mod probe;
pub mod scan;

pub mod remux;
pub mod retime;
