//! Credentials in a header: base64 of JSON (`X-Registry-Auth`). What cannot be read counts as none, as Docker has it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde::Deserialize;

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Auth {
    pub username: String,
    pub password: String,
    pub identitytoken: String,
}

pub fn read(header: &str) -> Auth {
    let decoded = URL_SAFE
        .decode(header)
        .or_else(|_| STANDARD.decode(header))
        .or_else(|_| URL_SAFE_NO_PAD.decode(header))
        .or_else(|_| STANDARD_NO_PAD.decode(header));
    let bytes = decoded.unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_nobody() {
        let text = URL_SAFE.encode(r#"{"username":"me","password":"?>","serveraddress":"x"}"#);
        let auth = read(&text);
        assert_eq!((auth.username.as_str(), auth.password.as_str()), ("me", "?>"));
        for nobody in ["", "e30=", "!!", "bm90IGpzb24="] {
            assert_eq!(read(nobody), Auth::default(), "{nobody}");
        }
    }
}
