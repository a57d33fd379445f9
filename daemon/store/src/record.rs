//! Records and batches: what goes into the store and how it is spelled.

use crate::error::{Error, Result};
use crate::frame;
use crate::key::Key;
use gantry_core::Namespace;
use gantry_core::gc::{Facts, Node};
use gantry_core::meta::Happening;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::SystemTime;

/// A kind of record. The table is a column family of the same name.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    type Key: Key + Send + Sync;
    const TABLE: &'static str;
    /// Raised when the shape changes so that old text no longer reads.
    const VERSION: u16;

    /// Turns a record of an older version into the present shape.
    fn upgrade(from: u16, _record: Value) -> Result<Value, String> {
        Err(format!("nothing reads version {from}"))
    }

    /// When it was last changed, if it may go by a collection: one that nobody waits for spares it a while.
    fn changed_at(&self) -> Option<SystemTime> {
        None
    }

    /// What the record says to the garbage collector; none if it keeps nothing and is not kept.
    fn facts(&self, _key: &Self::Key) -> Option<Facts> {
        None
    }
}

/// Why a value is not a record.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error(transparent)]
    Frame(#[from] frame::FrameError),
    #[error("the key has another shape")]
    Key,
    #[error("version {from} cannot be upgraded: {reason}")]
    Upgrade { from: u16, reason: String },
    #[error("the text is not a record: {0}")]
    Payload(#[source] serde_json::Error),
    /// Not damage: a newer gantry wrote it.
    #[error("version {version} is newer than {known}, the newest this gantry knows")]
    Newer { version: u16, known: u16 },
}

pub fn encode<R: Record>(key: &[u8], record: &R) -> Result<Vec<u8>> {
    let payload = serde_json::to_vec(record).map_err(|source| Error::Encode {
        table: R::TABLE,
        source,
    })?;
    Ok(frame::seal(R::TABLE, key, R::VERSION, &payload))
}

pub fn decode<R: Record>(key: &[u8], value: &[u8]) -> Result<R, DecodeError> {
    let (version, payload) = frame::open(R::TABLE, key, value)?;
    match version.cmp(&R::VERSION) {
        std::cmp::Ordering::Equal => serde_json::from_slice(payload).map_err(DecodeError::Payload),
        std::cmp::Ordering::Greater => Err(DecodeError::Newer {
            version,
            known: R::VERSION,
        }),
        std::cmp::Ordering::Less => {
            let old = serde_json::from_slice(payload).map_err(DecodeError::Payload)?;
            let new = R::upgrade(version, old).map_err(|reason| DecodeError::Upgrade { from: version, reason })?;
            serde_json::from_value(new).map_err(DecodeError::Payload)
        }
    }
}

/// Something that happened, as told to whoever watches. Numbered by the store when it is committed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub ns: Namespace,
    pub topic: String,
    pub at: SystemTime,
    pub payload: Value,
}

pub(crate) struct Op {
    pub table: &'static str,
    pub key: Vec<u8>,
    /// None deletes.
    pub value: Option<Vec<u8>>,
}

/// The changes of one step, state and events together: all of them are durable or none.
#[derive(Default)]
pub struct Batch {
    pub(crate) ops: Vec<Op>,
    /// Whoever commits counts on the first numbers being theirs.
    pub(crate) events: Vec<Event>,
    /// Numbered after the events.
    pub(crate) told: Vec<Event>,
    pub(crate) touched: Vec<Node>,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn put<R: Record>(&mut self, key: &R::Key, record: &R) -> Result<()> {
        if let Some(facts) = record.facts(key) {
            self.touched.extend(facts.refers_to());
            self.touched.push(facts.node);
        }
        let key = key.to_bytes();
        let value = encode(&key, record)?;
        self.ops.push(Op {
            table: R::TABLE,
            key,
            value: Some(value),
        });
        Ok(())
    }

    pub fn delete<R: Record>(&mut self, key: &R::Key) {
        self.delete_raw(R::TABLE, key.to_bytes());
    }

    pub(crate) fn delete_raw(&mut self, table: &'static str, key: Vec<u8>) {
        self.ops.push(Op {
            table,
            key,
            value: None,
        });
    }

    pub fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Tells clients of the containerd API what this step does; numbered after every [`Batch::event`].
    pub fn tell(&mut self, ns: &Namespace, happening: &Happening) -> Result<()> {
        let topic = happening
            .topic()
            .ok_or_else(|| gantry_core::Error::internal("an event from outside needs the topic it came with"))?;
        let payload = serde_json::to_value(happening).map_err(|source| Error::Encode {
            table: Event::TABLE,
            source,
        })?;
        self.told.push(Event {
            ns: ns.clone(),
            topic: topic.to_owned(),
            at: SystemTime::now(),
            payload,
        });
        Ok(())
    }

    /// Makes a garbage collection that runs now keep `node`.
    pub fn touch(&mut self, node: Node) {
        self.touched.push(node);
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.events.is_empty() && self.told.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Old {
        name: String,
    }

    impl Record for Old {
        type Key = String;
        const TABLE: &'static str = "names";
        const VERSION: u16 = 1;
    }

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct New {
        names: Vec<String>,
    }

    impl Record for New {
        type Key = String;
        const TABLE: &'static str = "names";
        const VERSION: u16 = 2;

        fn upgrade(from: u16, record: Value) -> Result<Value, String> {
            match from {
                1 => Ok(serde_json::json!({ "names": [record["name"]] })),
                other => Err(format!("version {other} was never released")),
            }
        }
    }

    #[test]
    fn older_versions_are_upgraded_and_newer_ones_left_alone() {
        let old = encode(b"k", &Old { name: "web".into() }).unwrap();
        assert_eq!(decode::<New>(b"k", &old).unwrap().names, ["web"]);
        let new = encode(b"k", &New { names: vec![] }).unwrap();
        assert!(matches!(
            decode::<Old>(b"k", &new),
            Err(DecodeError::Newer { version: 2, known: 1 })
        ));
    }
}
