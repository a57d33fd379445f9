//! What a runtime's shim mounts itself, as its `-info` tells: annotation `containerd.io/runtime-allow-mounts` of a
//! `containerd.types.RuntimeInfo` (containerd's "Mounts"), types and changes of types with commas.

use crate::shims::Shims;
use gantry_core::meta::Any;
use gantry_proto_shim::protobuf::{self, CodedInputStream, rt};
use std::collections::BTreeMap;

const ALLOWED: &str = "containerd.io/runtime-allow-mounts";
/// Tag of `map<string, string> annotations = 5`, and of a map's key and value.
const ANNOTATIONS: u32 = 5 << 3 | 2;
const KEY: u32 = 1 << 3 | 2;
const VALUE: u32 = 2 << 3 | 2;

impl Shims {
    /// Nothing, of one that cannot tell.
    pub async fn mounts_itself(&self, runtime: &str, options: Option<Any>) -> Vec<String> {
        let told = match self.runtime_info(runtime, options).await {
            Ok(told) => told,
            Err(error) => {
                tracing::debug!(runtime, err = %error, "a shim does not tell what it mounts itself");
                return Vec::new();
            }
        };
        let annotations = annotations(&told).unwrap_or_default();
        let allowed = annotations.get(ALLOWED).map(String::as_str).unwrap_or_default();
        let words = allowed.split(',').map(str::trim).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    }
}

fn annotations(info: &[u8]) -> protobuf::Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut input = CodedInputStream::from_bytes(info);
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        if tag == ANNOTATIONS {
            let (key, value) = entry(&input.read_bytes()?)?;
            found.insert(key, value);
        } else {
            rt::skip_field_for_tag(tag, &mut input)?;
        }
    }
    Ok(found)
}

fn entry(bytes: &[u8]) -> protobuf::Result<(String, String)> {
    let (mut key, mut value) = (String::new(), String::new());
    let mut input = CodedInputStream::from_bytes(bytes);
    while let Some(tag) = input.read_raw_tag_or_eof()? {
        match tag {
            KEY => key = input.read_string()?,
            VALUE => value = input.read_string()?,
            other => rt::skip_field_for_tag(other, &mut input)?,
        }
    }
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_among_other_fields() {
        let info = b"\x0a\x04name\x2a\x08\x0a\x01a\x12\x03x,y\x12\x03\x0a\x01v\x2a\x05\x0a\x01b\x12\x00";
        let found = annotations(info).unwrap();
        let expected = [("a", "x,y"), ("b", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(found, BTreeMap::from(expected));
        assert!(annotations(b"\x2a\x7f").is_err());
    }
}
