//! `--mount`: comma-separated fields, quoted as in a CSV file.

use gantry_proto::gantry::v1 as pb;

use crate::cli::flag::parse_bool;
use crate::format::units;

/// "type=volume,source=data,target=/data,readonly".
pub(crate) fn mount(text: &str) -> Result<pb::MountRequest, String> {
    let mut mount = pb::MountRequest {
        r#type: "volume".to_owned(),
        ..pb::MountRequest::default()
    };
    let mut own: Vec<&'static str> = Vec::new();
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        if switch(&mut mount, &key, value)? {
        } else if let Some(value) = value {
            take(&mut mount, &key, value, &field)?;
        } else {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        }
        own.extend(["bind", "volume", "tmpfs"].iter().filter(|kind| {
            let rest = key.strip_prefix(**kind);
            rest.is_some_and(|rest| rest.starts_with('-'))
        }));
    }
    if mount.target.is_empty() {
        return Err("target is required".to_owned());
    }
    match own.iter().find(|family| **family != mount.r#type) {
        Some(family) => Err(format!(
            "cannot mix '{family}-*' options with mount type '{}'",
            mount.r#type
        )),
        None => Ok(mount),
    }
}

/// Takes a field that needs no value; whether it is one.
fn switch(mount: &mut pb::MountRequest, key: &str, value: Option<&str>) -> Result<bool, String> {
    let field = match key {
        "readonly" | "ro" => &mut mount.read_only,
        "volume-nocopy" => &mut mount.no_copy,
        "bind-nonrecursive" => &mut mount.non_recursive,
        "bind-create-src" => &mut mount.create_source,
        _ => return Ok(false),
    };
    *field = match value {
        None => true,
        Some(text) => parse_bool(text).ok_or_else(|| format!("invalid value for {key}: {text}"))?,
    };
    Ok(true)
}

fn take(mount: &mut pb::MountRequest, key: &str, value: &str, field: &str) -> Result<(), String> {
    let bad = || format!("invalid value for {key}: {value}");
    let pair = || {
        let (name, value) = value.split_once('=').unwrap_or((value, ""));
        (name.to_owned(), value.to_owned())
    };
    match key {
        "type" => match value.to_ascii_lowercase().as_str() {
            kind @ ("bind" | "volume" | "tmpfs") => mount.r#type = kind.to_owned(),
            other => {
                return Err(format!(
                    "mount type \"{other}\" is not built: bind, volume and tmpfs are"
                ));
            }
        },
        "source" | "src" => mount.source = source(value),
        "target" | "dst" | "destination" => mount.target = value.to_owned(),
        "consistency" => mount.consistency = value.to_ascii_lowercase(),
        "bind-propagation" => mount.propagation = value.to_ascii_lowercase(),
        "bind-recursive" => match value {
            "enabled" | "readonly" => {}
            "disabled" => mount.non_recursive = true,
            "writable" => mount.shallow_read_only = true,
            _ => {
                return Err(format!(
                    "{} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")",
                    bad()
                ));
            }
        },
        "volume-subpath" => mount.subpath = value.to_owned(),
        "volume-driver" => mount.driver = value.to_owned(),
        "volume-label" => mount.labels.extend([pair()]),
        "volume-opt" => mount.driver_options.extend([pair()]),
        "tmpfs-size" => mount.tmpfs_size = units::ram_in_bytes(value).map_err(|_| bad())?,
        "tmpfs-mode" => mount.tmpfs_mode = u32::from_str_radix(value, 8).map_err(|_| bad())?,
        other => return Err(format!("unexpected key '{other}' in '{field}'")),
    }
    Ok(())
}

/// A path of ours that begins with a dot is relative to where we are.
fn source(value: &str) -> String {
    if value == "." || value == ".." || value.starts_with("./") || value.starts_with("../") {
        return std::path::absolute(value).map_or_else(|_| value.to_owned(), |path| path.display().to_string());
    }
    value.to_owned()
}

/// The fields of one line of CSV.
fn fields(text: &str) -> Result<Vec<String>, String> {
    let (mut all, mut last) = (Vec::new(), String::new());
    let (mut quoted, mut letters) = (false, text.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                last.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if last.is_empty() => quoted = true,
            ',' if !quoted => all.push(std::mem::take(&mut last)),
            other => last.push(other),
        }
    }
    all.push(last);
    match quoted {
        true => Err("parse error: extraneous or missing \" in quoted-field".to_owned()),
        false => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind() {
        let bind = mount("type=bind,src=/a,dst=/b,ro,bind-propagation=rslave").unwrap();
        assert_eq!((bind.source.as_str(), bind.target.as_str()), ("/a", "/b"));
        assert_eq!((bind.read_only, bind.propagation.as_str()), (true, "rslave"));
        let volume = mount("source=data,target=/d,volume-nocopy,\"volume-opt=o=a,b\",volume-subpath=x").unwrap();
        assert_eq!((volume.r#type.as_str(), volume.no_copy), ("volume", true));
        assert_eq!(
            (volume.driver_options["o"].as_str(), volume.subpath.as_str()),
            ("a,b", "x")
        );
        let tmpfs = mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770").unwrap();
        assert_eq!((tmpfs.tmpfs_size, tmpfs.tmpfs_mode), (1 << 20, 0o1770));
    }

    #[test]
    fn what_makes_no_sense() {
        for (text, why) in [
            ("type=bind,source=/a", "target is required"),
            ("x,target=/a", "invalid field 'x' must be a key=value pair"),
            ("x=y,target=/a", "unexpected key 'x' in 'x=y'"),
            ("target=/a,readonly=maybe", "invalid value for readonly: maybe"),
            (
                "type=bind,src=/a,target=/a,volume-nocopy",
                "cannot mix 'volume-*' options with mount type 'bind'",
            ),
            (
                "type=npipe,target=/a",
                "mount type \"npipe\" is not built: bind, volume and tmpfs are",
            ),
        ] {
            assert_eq!(mount(text).unwrap_err(), why);
        }
    }
}
