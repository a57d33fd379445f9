//! Mounts that are kept for clients of containerd's API: what is mounted, how long it stays, and that nothing is left of it.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod bed;
mod kinds;
mod life;
