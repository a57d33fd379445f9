//! Images.
pub mod compress;
pub mod config;
pub mod descriptor;
pub mod diff;
pub mod error;
mod hash;
pub mod media;
pub mod platform;
mod tarball;
pub mod unpack;
