//! What happened, told to everyone who listens. Events are made durable in the batch of the state they tell of.

use gantry_core::Labels;
use serde::{Deserialize, Serialize};
use std::time::SystemTime;
use tokio::sync::broadcast;

/// Events kept for a subscriber that is slow; beyond this it is told how many it missed.
const QUEUE: usize = 4096;

/// One event, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Grows with every event; 0 until it is stored.
    #[serde(default)]
    pub sequence: u64,
    pub time: SystemTime,
    /// `container`, `image`.
    pub kind: String,
    /// `create`, `start`, `die`, ...
    pub action: String,
    pub actor: String,
    pub attributes: Labels,
}

impl Event {
    pub fn new(kind: &str, action: impl Into<String>, actor: impl Into<String>, attributes: Labels) -> Self {
        Self {
            sequence: 0,
            time: SystemTime::now(),
            kind: kind.to_owned(),
            action: action.into(),
            actor: actor.into(),
            attributes,
        }
    }
}

/// The channel to live subscribers.
pub struct Bus {
    sender: broadcast::Sender<Event>,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(QUEUE).0,
        }
    }
}

impl Bus {
    pub fn publish(&self, events: Vec<Event>) {
        for event in events {
            // Nobody listening is fine: the event is in the store.
            let _ = self.sender.send(event);
        }
    }

    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }
}
