//! Bytes: from the process's pipes or terminal to the log and to whoever is attached, and back from them to its stdin.
//!
//! One road: `pump` reads a stream and hands it to the `hub`; the hub writes the `log` and puts the bytes into each client's `spool`; a
//! client's own task empties its spool at the client's pace. A full spool makes the pump wait, which holds back the writer.

pub mod fifo;
pub mod hub;
pub mod log;
pub mod logger;
pub mod pump;
pub mod spool;
pub mod stdin;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a panic elsewhere does not take the shim along.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
