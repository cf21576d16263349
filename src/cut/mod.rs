//! A range of segments, made into one file.

pub mod rough;
