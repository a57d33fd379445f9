//! What makes a container: our shim itself, an OCI runtime program, or another shim that stands behind ours.

use crate::error::Result;
use gantry_core::Error;
use gantry_core::meta::Any;
use gantry_proto_shim::{extras, protobuf::Message, runc_options};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Type of the options of containerd's runc shims, and of those of shims that are told a file or its text.
const RUNC_OPTIONS: &str = "containerd.runc.v1.Options";
const GENERIC_OPTIONS: &str = "runtimeoptions.v1.Options";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Runtime {
    /// Our shim's own.
    #[default]
    BuiltIn,
    Program {
        /// Name or path.
        program: String,
        /// Before the program's verb.
        args: Vec<String>,
    },
    Shim {
        program: PathBuf,
        options: Option<Any>,
    },
}

impl Runtime {
    /// A shim with options as a configuration writes them: those of `containerd.runc.v1.Options` for containerd's runc shims, else
    /// `TypeUrl`, `ConfigPath` and `ConfigBody`.
    pub fn shim(program: PathBuf, options: &Map<String, Value>) -> Result<Self, Error> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let options = match options.is_empty() {
            true => None,
            false if name.starts_with("containerd-shim-runc-") => Some(runc(options)?),
            false => Some(generic(options)?),
        };
        Ok(Self::Shim { program, options })
    }

    pub(crate) fn write(&self, wire: &mut extras::CreateOptions) {
        match self {
            Self::BuiltIn => {}
            Self::Program { program, args } => {
                wire.runtime.clone_from(program);
                wire.runtime_args.clone_from(args);
            }
            Self::Shim { program, options } => {
                wire.foreign_shim = program.to_string_lossy().into_owned();
                if let Some(options) = options {
                    wire.foreign_options_type.clone_from(&options.type_url);
                    wire.foreign_options.clone_from(&options.value);
                }
            }
        }
    }
}

/// Whether a path is a shim's program, by its name: those of containerd's world begin so.
pub fn is_shim(program: &Path) -> bool {
    let name = program.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with("containerd-shim-")
}

fn runc(given: &Map<String, Value>) -> Result<Any, Error> {
    let mut options = runc_options::Options::new();
    for (name, value) in given {
        match name.as_str() {
            "NoPivotRoot" => options.no_pivot_root = flag(name, value)?,
            "NoNewKeyring" => options.no_new_keyring = flag(name, value)?,
            "ShimCgroup" => options.shim_cgroup = text(name, value)?,
            "IoUid" => options.io_uid = number(name, value)?,
            "IoGid" => options.io_gid = number(name, value)?,
            "BinaryName" => options.binary_name = text(name, value)?,
            "Root" => options.root = text(name, value)?,
            "SystemdCgroup" => options.systemd_cgroup = flag(name, value)?,
            "CriuImagePath" => options.criu_image_path = text(name, value)?,
            "CriuWorkPath" => options.criu_work_path = text(name, value)?,
            _ => return Err(unknown(name)),
        }
    }
    any(RUNC_OPTIONS, options.write_to_bytes().unwrap_or_default())
}

/// Fields 1, 2 and 3 of the message: type, path, body.
fn generic(given: &Map<String, Value>) -> Result<Any, Error> {
    let mut bytes = Vec::new();
    for (number, name) in (1..).zip(["TypeUrl", "ConfigPath", "ConfigBody"]) {
        let Some(value) = given.get(name) else { continue };
        let value = text(name, value)?;
        let field = |bytes: &mut Vec<u8>| {
            let mut stream = gantry_proto_shim::protobuf::CodedOutputStream::vec(bytes);
            stream.write_string(number, &value)
        };
        field(&mut bytes).map_err(|error| Error::internal(format!("encode runtime options: {error}")))?;
    }
    let known = ["TypeUrl", "ConfigPath", "ConfigBody"];
    match given.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(unknown(name)),
        None => any(GENERIC_OPTIONS, bytes),
    }
}

fn any(kind: &str, value: Vec<u8>) -> Result<Any, Error> {
    Ok(Any {
        type_url: kind.to_owned(),
        value,
    })
}

fn unknown(name: &str) -> Error {
    Error::invalid(format!("this kind of runtime has no option {name}"))
}

fn wrong(name: &str, wanted: &str) -> Error {
    Error::invalid(format!("the runtime option {name} is not {wanted}"))
}

fn flag(name: &str, value: &Value) -> Result<bool, Error> {
    value.as_bool().ok_or_else(|| wrong(name, "true or false"))
}

fn text(name: &str, value: &Value) -> Result<String, Error> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong(name, "a text"))
}

fn number(name: &str, value: &Value) -> Result<u32, Error> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| wrong(name, "a number"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn options(program: &str, given: Value) -> Result<Any, Error> {
        let given = given.as_object().unwrap().clone();
        match Runtime::shim(PathBuf::from(program), &given)? {
            Runtime::Shim { options, .. } => Ok(options.unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_are_written_as_their_shims_read_them() {
        let asked = options(
            "/x/containerd-shim-runc-v2",
            json!({"BinaryName": "crun", "SystemdCgroup": true}),
        )
        .unwrap();
        assert_eq!(asked.type_url, RUNC_OPTIONS);
        let read = runc_options::Options::parse_from_bytes(&asked.value).unwrap();
        assert!(read.binary_name == "crun" && read.systemd_cgroup);
        let asked = options("/x/containerd-shim-kata-v2", json!({"ConfigPath": "/k"})).unwrap();
        assert_eq!(
            (asked.type_url.as_str(), asked.value.as_slice()),
            (GENERIC_OPTIONS, &b"\x12\x02/k"[..])
        );
    }

    #[test]
    fn what_a_shim_does_not_know_is_refused_by_name() {
        for (program, given) in [
            ("containerd-shim-runc-v2", json!({"Binary": "x"})),
            ("containerd-shim-runc-v2", json!({"Root": 1})),
            ("containerd-shim-kata-v2", json!({"BinaryName": "x"})),
        ] {
            let error = options(program, given).unwrap_err();
            assert!(error.to_string().contains("option"), "{error}");
        }
        assert!(is_shim(Path::new("/usr/bin/containerd-shim-runc-v2")) && !is_shim(Path::new("/usr/bin/runc")));
    }
}
