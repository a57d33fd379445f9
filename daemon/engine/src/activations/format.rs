//! Values that are known when something is mounted: `{{ mount 0 }}` in a source, a target or an option.
//!
//! The words are containerd's ("Mounts", format transformer): `source`, `target` and `mount` of the active mount of a number, and
//! `overlay` of two numbers, the mount points from the one to the other as lower directories of an overlay.

use super::ActiveMount;
use gantry_core::{Error, Mount, Result};

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

pub fn fill(mount: Mount, active: &[ActiveMount]) -> Result<Mount> {
    Ok(Mount {
        kind: mount.kind,
        source: filled(&mount.source, active)?,
        target: filled(&mount.target, active)?,
        options: mount
            .options
            .iter()
            .map(|option| filled(option, active))
            .collect::<Result<_>>()?,
    })
}

fn filled(text: &str, active: &[ActiveMount]) -> Result<String> {
    let bad = |why: String| Error::invalid(format!("mount template {text:?}: {why}"));
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let (words, next) = after
            .split_once(CLOSE)
            .ok_or_else(|| bad(format!("{OPEN} is not closed")))?;
        whole.push_str(before);
        whole.push_str(&value(words, active).map_err(bad)?);
        rest = next;
    }
    whole.push_str(rest);
    Ok(whole)
}

fn value(words: &str, active: &[ActiveMount]) -> Result<String, String> {
    let words: Vec<&str> = words.split_whitespace().collect();
    let point = |one: &ActiveMount| one.mount_point.to_string_lossy().into_owned();
    match words.as_slice() {
        ["source", at] => one(at, active).map(|one| one.mount.source.clone()),
        ["target", at] => one(at, active).map(|one| one.mount.target.clone()),
        ["mount", at] => one(at, active).map(point),
        ["overlay", from, to] => {
            let (from, to) = (number(from)?, number(to)?);
            let range = from.min(to)..=from.max(to);
            let among = active.get(range).ok_or_else(|| out_of(from.max(to), active))?;
            let mut points: Vec<String> = among.iter().map(point).collect();
            if from > to {
                points.reverse();
            }
            Ok(points.join(":"))
        }
        _ => Err(format!(
            "{:?} is none of: source N, target N, mount N, overlay FROM TO",
            words.join(" ")
        )),
    }
}

fn number(word: &str) -> Result<usize, String> {
    word.parse()
        .map_err(|_| format!("{word:?} is not the number of a mount"))
}

fn one<'a>(word: &str, active: &'a [ActiveMount]) -> Result<&'a ActiveMount, String> {
    let at = number(word)?;
    active.get(at).ok_or_else(|| out_of(at, active))
}

fn out_of(at: usize, active: &[ActiveMount]) -> String {
    format!("there is no active mount {at}, there are {}", active.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_core::ErrorKind;
    use std::time::SystemTime;

    fn active() -> Vec<ActiveMount> {
        let one = |number: usize| ActiveMount {
            mount: Mount {
                kind: "bind".to_owned(),
                source: format!("/source/{number}"),
                target: format!("target{number}"),
                options: Vec::new(),
            },
            mounted_at: SystemTime::UNIX_EPOCH,
            mount_point: format!("/m/{number}").into(),
        };
        (0..3).map(one).collect()
    }

    #[test]
    fn values_are_filled_in() {
        for (text, expected) in [
            ("plain", "plain"),
            ("{{ source 1 }}", "/source/1"),
            ("{{target 0}}", "target0"),
            ("upperdir={{ mount 2 }}/upper", "upperdir=/m/2/upper"),
            ("lowerdir={{ mount 1 }}:{{ mount 0 }}", "lowerdir=/m/1:/m/0"),
            ("lowerdir={{ overlay 0 2 }}", "lowerdir=/m/0:/m/1:/m/2"),
            ("lowerdir={{ overlay 2 1 }}", "lowerdir=/m/2:/m/1"),
            ("{{ overlay 1 1 }}", "/m/1"),
        ] {
            assert_eq!(filled(text, &active()).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_not_a_template_is_refused() {
        for text in [
            "{{ mount 3 }}",
            "{{ mount -1 }}",
            "{{ mount }}",
            "{{ mount 0",
            "{{ overlay 0 3 }}",
            "{{ overlay 0 }}",
            "{{ exec 0 }}",
            "{{}}",
        ] {
            let error = filled(text, &active()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
        }
    }
}
