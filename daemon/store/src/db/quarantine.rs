//! Where values that do not decode are kept, bytes and all. Nothing is ever deleted from here but by request.

use crate::frame;
use crate::key::Key;
use crate::record::{Record, encode};
use serde::{Deserialize, Serialize};
use std::time::SystemTime;

pub const TABLE: &str = "quarantine";

/// Key: table, key there. Order: by table, then as there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    pub table: String,
    /// Hex.
    pub key: String,
    /// Hex.
    pub value: String,
    pub reason: String,
    pub at: SystemTime,
}

impl Record for Quarantined {
    type Key = (String, Vec<u8>);
    const TABLE: &'static str = TABLE;
    const VERSION: u16 = 1;
}

/// Key and value of the entry, ready to be written.
pub fn sealed(table: &str, key: &[u8], value: &[u8], reason: &str) -> (Vec<u8>, Vec<u8>) {
    let kept_key = (table.to_owned(), key.to_vec()).to_bytes();
    let entry = Quarantined {
        table: table.to_owned(),
        key: hex::encode(key),
        value: hex::encode(value),
        reason: reason.to_owned(),
        at: SystemTime::now(),
    };
    let value = encode(&kept_key, &entry).unwrap_or_else(|_| frame::seal(TABLE, &kept_key, 1, b"{}"));
    (kept_key, value)
}
