//! What a field must be to mean anything, refused by the field's name.

use gantry_core::{Error, Result};

/// Not negative.
pub fn amount(field: &str, value: i64) -> Result<i64> {
    at_least(field, value, 0)
}

pub fn at_least(field: &str, value: i64, least: i64) -> Result<i64> {
    match value >= least {
        true => Ok(value),
        false => Err(Error::invalid(format!("{field}: {value} is less than {least}"))),
    }
}

/// One of a few words; empty = the default.
pub fn word(field: &str, value: String, known: &[&str]) -> Result<String> {
    match value.is_empty() || known.contains(&value.as_str()) {
        true => Ok(value),
        false => Err(Error::invalid(format!(
            "{field}: \"{value}\" is not known; known are {}",
            known.join(", ")
        ))),
    }
}

pub fn present<T>(field: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::invalid(format!("{field}: missing")))
}

pub fn filled(field: &str, value: String) -> Result<String> {
    match value.is_empty() {
        true => Err(Error::invalid(format!("{field}: empty"))),
        false => text(field, value),
    }
}

/// A zero byte ends a text for the kernel, so what stands behind it would be lost.
pub fn text(field: &str, value: String) -> Result<String> {
    match value.contains('\0') {
        true => Err(Error::invalid(format!("{field}: contains a zero byte"))),
        false => Ok(value),
    }
}

pub fn texts(field: &str, values: Vec<String>) -> Result<Vec<String>> {
    values.into_iter().map(|value| text(field, value)).collect()
}

/// `NAME=value` or `NAME`.
pub fn env(field: &str, values: Vec<String>) -> Result<Vec<String>> {
    for value in &values {
        if value.is_empty() || value.starts_with('=') {
            return Err(Error::invalid(format!(
                "{field}: invalid environment variable: {value}"
            )));
        }
    }
    texts(field, values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_field() {
        for error in [
            amount("host.memory", -1).unwrap_err(),
            word("host.cgroupns_mode", "odd".into(), &["host"]).unwrap_err(),
            present::<()>("config", None).unwrap_err(),
            filled("path", String::new()).unwrap_err(),
            text("config.user", "a\0b".into()).unwrap_err(),
            env("config.env", vec!["=x".into()]).unwrap_err(),
        ] {
            assert_eq!(error.kind(), gantry_core::ErrorKind::InvalidArgument);
            assert!(error.message().contains(": "), "{error}");
        }
        assert_eq!(env("env", vec!["A=".into(), "B".into()]).unwrap().len(), 2);
    }
}
