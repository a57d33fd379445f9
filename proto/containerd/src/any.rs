//! Values in an `Any`, as containerd's typeurl names them: the bare full name of a message, or a longer name for JSON.

use prost::{DecodeError, Message, Name};
use prost_types::Any;

/// Name of a JSON text in an Any: an OCI runtime spec.
pub const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// The process part of a spec, in an exec.
pub const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
/// The Linux resources of a spec, in an update of a task.
pub const LINUX_RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
/// The Windows resources of a spec.
pub const WINDOWS_RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/WindowsResources";
/// What a runtime can do, in RuntimeInfo.
pub const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("any of type {found:?} where {wanted} is wanted")]
    OtherType { found: String, wanted: String },
    #[error("decoding {name}")]
    Decode { name: String, source: DecodeError },
}

/// A message under its bare full name; clients compare that text and accept no prefix.
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: M::full_name(),
        value: message.encode_to_vec(),
    }
}

/// A JSON text under one of the names above.
pub fn json(name: &str, text: impl Into<Vec<u8>>) -> Any {
    Any {
        type_url: name.to_owned(),
        value: text.into(),
    }
}

/// Whether it bears this name, with or without something before it that ends in a slash.
pub fn is_named(any: &Any, name: &str) -> bool {
    any.type_url
        .strip_suffix(name)
        .is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

/// Whether it holds a message of this type.
pub fn is<M: Name>(any: &Any) -> bool {
    is_named(any, &M::full_name())
}

/// The message inside, if it is of this type.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, Error> {
    let name = M::full_name();
    if !is_named(any, &name) {
        return Err(Error::OtherType {
            found: any.type_url.clone(),
            wanted: name,
        });
    }
    M::decode(any.value.as_slice()).map_err(|source| Error::Decode { name, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{events::TaskExit, runc::v1::Options, services::streaming::v1::StreamInit};

    #[test]
    fn names_are_bare_and_prefixes_are_read() {
        let mut any = pack(&StreamInit { id: "a".into() });
        assert_eq!(any.type_url, "containerd.services.streaming.v1.StreamInit");
        assert_eq!(unpack::<StreamInit>(&any).unwrap().id, "a");
        any.type_url = format!("type.googleapis.com/{}", any.type_url);
        assert_eq!(unpack::<StreamInit>(&any).unwrap().id, "a");
        assert!(matches!(unpack::<TaskExit>(&any), Err(Error::OtherType { .. })));
        any.type_url = "notcontainerd.services.streaming.v1.StreamInit".into();
        assert!(!is::<StreamInit>(&any));
    }

    #[test]
    fn known_names() {
        assert_eq!(pack(&()).type_url, "google.protobuf.Empty");
        assert_eq!(pack(&Options::default()).type_url, "containerd.runc.v1.Options");
        assert_eq!(
            pack(&crate::io::containerd::cgroups::v2::Metrics::default()).type_url,
            "io.containerd.cgroups.v2.Metrics"
        );
        assert_eq!(
            pack(&crate::types::transfer::OciRegistry::default()).type_url,
            "containerd.types.transfer.OCIRegistry"
        );
        assert_eq!(
            pack(&crate::events::TaskOom::default()).type_url,
            "containerd.events.TaskOOM"
        );
    }

    #[test]
    fn garbage_is_an_error() {
        let any = Any {
            type_url: "containerd.events.TaskExit".into(),
            value: vec![0xff; 9],
        };
        assert!(matches!(unpack::<TaskExit>(&any), Err(Error::Decode { .. })));
        assert!(is_named(&json(SPEC, "{}"), SPEC));
    }
}
