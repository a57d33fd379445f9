//! What may be done to a container, a verb a file.

pub mod checkpoint;
pub mod create;
pub mod delete;
pub mod exec;
pub mod kill;
pub mod pause;
pub mod start;
pub mod stats;
