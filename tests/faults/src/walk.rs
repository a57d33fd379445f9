//! Several stops at a time, each in a house of its own.

use std::any::Any;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Mostly they wait.
const WORKERS: usize = 6;

/// What came of a walk through the stops.
#[derive(Default)]
pub struct Walk {
    pub hit: Vec<String>,
    pub missed: Vec<String>,
    /// Not recovered from, and why.
    pub failed: Vec<(String, String)>,
}

impl Walk {
    /// Says how many of the stops were hit; all of them must have been, and recovered from.
    #[track_caller]
    pub fn judge(&self, what: &str, stops: &[String]) {
        assert!(!stops.is_empty(), "no stops{what} were walked through");
        say(&format!("failpoints{what} hit: {} of {}", self.hit.len(), stops.len()));
        assert!(
            self.failed.is_empty() && self.missed.is_empty(),
            "not recovered after a kill: {:#?}; never passed: {:?}",
            self.failed,
            self.missed
        );
        assert_eq!(self.hit.len(), stops.len(), "all there are");
    }
}

/// Not through the harness, which shows what a test prints only if it fails.
pub fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("stderr is there");
}

/// Does the deed for every stop; it answers whether the stop was hit and panics if the daemon did not recover.
pub fn walk(stops: &[String], deed: impl Fn(&str) -> bool + Sync) -> Walk {
    let (next, seen) = (AtomicUsize::new(0), Mutex::new(Walk::default()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(stop) = stops.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = catch_unwind(AssertUnwindSafe(|| deed(stop)));
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok(true) => seen.hit.push(stop.clone()),
                        Ok(false) => seen.missed.push(stop.clone()),
                        Err(panic) => seen.failed.push((stop.clone(), text(panic.as_ref()))),
                    }
                }
            });
        }
    });
    seen.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
        .to_owned()
}
