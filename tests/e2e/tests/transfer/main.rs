//! Transfers as containerd's clients make them: registries, archives and names, over streams of bytes, logins and progress, against a
//! running daemon and Debian's registry.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod archives;
mod bed;
mod image;
mod leaving;
mod registries;
