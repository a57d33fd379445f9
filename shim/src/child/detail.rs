//! The built-in runtime says why something failed only in its log, not in its errors. This subscriber writes the first error
//! of each process to stderr, from where it reaches the failure's message.

use std::{
    fmt::Write as _,
    io::Write as _,
    sync::atomic::{AtomicU32, Ordering},
};
use tracing::{
    Event, Level, Metadata,
    field::{Field, Visit},
    span,
};

/// Starts listening in this process and those it clones.
pub fn install() {
    let _ = tracing::subscriber::set_global_default(FirstError(AtomicU32::new(0)));
}

/// Remembers which process has spoken.
struct FirstError(AtomicU32);

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if !self.0.is_empty() {
            self.0.push_str(", ");
        }
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, "{name}: {value:?}"),
        };
    }
}

impl tracing::Subscriber for FirstError {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::ERROR
    }

    fn event(&self, event: &Event<'_>) {
        let me = std::process::id();
        if self.0.swap(me, Ordering::Relaxed) == me {
            return;
        }
        let mut words = Words(String::new());
        event.record(&mut words);
        words.0 = words.0.chars().take(1000).collect();
        words.0.push('\n');
        let _ = std::io::stderr().write_all(words.0.as_bytes());
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}
