//! MP4 (ISO/IEC 14496-12, -14 and -15): descriptions of samples in, bytes out.
//!
//! A *movie* is a head, which has the tables of all samples, and the samples themselves behind it. It is never in memory as
//! a whole: [`movie::head`] writes the head, and [`layout::Layout`] tells which part of the samples a byte range needs.
//! [`fragment`] writes fragmented MP4. These modules do no I/O and read no clock.

pub mod boxes;

mod compact;
pub mod tracks;

pub mod entries;

mod tables;
mod trak;

pub mod layout;
pub mod movie;

pub mod fragment;

#[cfg(test)]
mod tests;
