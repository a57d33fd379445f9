//! Ids as types. A bare string never passes a door.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// containerd's identifier rule: 1 to 76 characters, runs of letters and digits joined by single `.`, `_` or `-`.
pub fn is_identifier(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > 76 {
        return false;
    }
    let mut joined = true;
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => joined = false,
            b'.' | b'_' | b'-' if !joined => joined = true,
            _ => return false,
        }
    }
    !joined
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn new(text: impl Into<String>) -> Result<Self> {
                let text = text.into();
                if !is_identifier(&text) {
                    return Err(Error::invalid(format!(concat!("invalid ", $what, " \"{}\""), text)));
                }
                Ok(Self(text))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

identifier!(
    /// A containerd namespace: records of different namespaces never meet.
    Namespace,
    "namespace"
);
identifier!(
    /// A container's id. The engine's own are 64 hex digits; containerd clients choose theirs.
    ContainerId,
    "container id"
);
identifier!(
    /// An exec's id within its container.
    ExecId,
    "exec id"
);

/// A lease's id. containerd lets clients choose any non-empty text here (`<nanos>-<random>` by its own client).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId(pub String);

impl Namespace {
    /// Where everything made through the Docker API and `gantry` lives.
    pub fn engine() -> Self {
        Self("gantry".to_owned())
    }
}

impl ContainerId {
    /// From 32 random bytes: 64 hex digits.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(hex::encode(bytes))
    }

    /// The first 12 characters, as `ps` shows them.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl ExecId {
    /// From 32 random bytes: 64 hex digits.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Self(hex::encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifier_rule() {
        for good in ["a", "k8s.io", "a-b_c.d", &"x".repeat(76)] {
            assert!(is_identifier(good), "{good}");
        }
        for bad in ["", ".", "-a", "a-", "a..b", "a/b", "ä", "a b", &"x".repeat(77)] {
            assert!(!is_identifier(bad), "{bad}");
        }
    }
}
