//! Conformance suites: what an implementation promises, as functions that take a factory of it.
//!
//! A suite never knows which implementation it looks at; every implementation runs it from its own tests.

pub mod content;
pub mod snapshots;
