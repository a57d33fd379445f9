//! What a shim prints when `start` is done. Three generations are read; ours is the first unless asked otherwise.

use serde::{Deserialize, Serialize};

/// Where a shim's ttrpc socket is and which task API it speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// 2 or 3: version of the task API.
    pub version: u32,
    /// `unix:///path`.
    pub address: String,
    /// `ttrpc` or `grpc`.
    pub protocol: String,
}

/// The reply makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapError(pub String);

impl std::fmt::Display for BootstrapError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "shim answered start with neither an address nor bootstrap parameters: {:?}",
            self.0
        )
    }
}

impl std::error::Error for BootstrapError {}

impl Bootstrap {
    /// Reads a reply in any form: a bare address (containerd up to 1.7), JSON (2.0 to 2.2), or a protobuf
    /// `BootstrapResult` {1: version, 2: address, 3: protocol} (2.3 and later).
    pub fn parse(reply: &[u8]) -> Result<Self, BootstrapError> {
        let text = String::from_utf8_lossy(reply);
        let trimmed = text.trim();
        if trimmed.starts_with('{') {
            return serde_json::from_str(trimmed).map_err(|err| BootstrapError(format!("{trimmed}: {err}")));
        }
        if trimmed.starts_with("unix://") || trimmed.starts_with("vsock://") {
            return Ok(Self {
                version: 2,
                address: trimmed.to_owned(),
                protocol: "ttrpc".to_owned(),
            });
        }
        from_protobuf(reply).ok_or_else(|| BootstrapError(trimmed.chars().take(200).collect()))
    }

    /// The path of a `unix://` address.
    pub fn socket_path(&self) -> Option<&str> {
        self.address.strip_prefix("unix://")
    }
}

/// Reads the three fields of a `BootstrapResult`; anything else in it makes it none.
fn from_protobuf(mut bytes: &[u8]) -> Option<Bootstrap> {
    let mut result = Bootstrap {
        version: 0,
        address: String::new(),
        protocol: String::new(),
    };
    while let Some((&tag, rest)) = bytes.split_first() {
        bytes = rest;
        match tag {
            0x08 => {
                let (&value, rest) = bytes.split_first()?;
                (value < 0x80).then(|| result.version = value.into())?;
                bytes = rest;
            }
            0x12 | 0x1a => {
                let (&len, rest) = bytes.split_first()?;
                let value = (len < 0x80).then(|| rest.get(..len as usize))??;
                let text = String::from_utf8(value.to_vec()).ok()?;
                if tag == 0x12 {
                    result.address = text
                } else {
                    result.protocol = text
                }
                bytes = &rest[len as usize..];
            }
            _ => return None,
        }
    }
    (!result.address.is_empty()).then_some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_generations_are_read() {
        let bare = Bootstrap::parse(b"unix:///run/s/1\n").unwrap();
        assert_eq!((bare.version, bare.socket_path()), (2, Some("/run/s/1")));
        let json = Bootstrap::parse(br#"{"version":3,"address":"unix:///a","protocol":"ttrpc"}"#).unwrap();
        assert_eq!(json.version, 3);
        let proto = Bootstrap::parse(b"\x08\x03\x12\x09unix:///a\x1a\x05ttrpc").unwrap();
        assert_eq!(proto, json);
        assert!(Bootstrap::parse(b"").is_err());
        assert!(Bootstrap::parse(b"panic: oh").is_err());
    }
}
