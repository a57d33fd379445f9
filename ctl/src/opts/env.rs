//! Environment variables and labels from flags and files.

use std::path::Path;

use crate::error::{Error, Result};

/// Whether `-e`'s value has a name.
pub(crate) fn env_name(text: &str) -> Result<(), String> {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid environment variable: {text}"));
    }
    Ok(())
}

/// The files' variables, then the flags'. A name alone takes its value from `ours`; one that is not there is left out of a file
/// and kept bare from a flag, which removes the image's.
pub(crate) fn environment(
    files: &[String],
    flags: &[String],
    ours: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for file in files {
        for line in lines(file)? {
            let (name, value) = named(&line, file, "variable")?;
            match value {
                Some(_) => out.push(line),
                None => out.extend(ours(&name).map(|value| format!("{name}={value}"))),
            }
        }
    }
    for flag in flags {
        match ours(flag).filter(|_| !flag.contains('=')) {
            Some(value) => out.push(format!("{flag}={value}")),
            None => out.push(flag.clone()),
        }
    }
    Ok(out)
}

/// The labels of files, as "name=value".
pub(super) fn label_lines(files: &[String]) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for file in files {
        for line in lines(file)? {
            named(&line, file, "label")?;
            out.push(line);
        }
    }
    Ok(out)
}

/// The lines that say something: no comments, no blanks in front.
fn lines(file: &str) -> Result<Vec<String>> {
    let bytes = std::fs::read(Path::new(file)).map_err(|source| Error::Io {
        what: format!("open {file}"),
        source,
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::refused(format!("invalid env file ({file}): contains invalid utf8 bytes")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let said = |line: &&str| !line.is_empty() && !line.starts_with('#');
    Ok(text
        .lines()
        .map(str::trim_start)
        .filter(said)
        .map(str::to_owned)
        .collect())
}

fn named(line: &str, file: &str, what: &str) -> Result<(String, Option<String>)> {
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (line.trim(), None),
    };
    if name.is_empty() {
        return Err(Error::refused(format!(
            "invalid env file ({file}): no variable name on line '{line}'"
        )));
    }
    if name.contains([' ', '\t']) {
        return Err(Error::refused(format!(
            "invalid env file ({file}): {what} '{name}' contains whitespaces"
        )));
    }
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    #[test]
    fn flags_after_files_and_names_from_ours() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env").display().to_string();
        std::fs::write(&file, "\u{feff}# note\n\nA=1\n  B = x y\nHOME\nNOPE\n").unwrap();
        let got = environment(
            std::slice::from_ref(&file),
            &["A=2".into(), "HOME".into(), "GONE".into()],
            ours,
        );
        assert!(got.unwrap_err().to_string().contains("'B ' contains whitespaces"));
        std::fs::write(&file, "# note\n\nA=1\nB= x y\nHOME\nNOPE\n").unwrap();
        let got = environment(&[file], &["A=2".into(), "HOME".into(), "GONE".into()], ours).unwrap();
        assert_eq!(got, ["A=1", "B= x y", "HOME=/root", "A=2", "HOME=/root", "GONE"]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let err = environment(&["/no/such".into()], &[], ours).unwrap_err().to_string();
        assert!(err.starts_with("open /no/such: "), "{err}");
        assert!(env_name("=x").is_err() && env_name("").is_err() && env_name("A").is_ok());
    }
}
