//! What is said of an identifier that is none.

/// containerd's words, which show its rule (pkg/identifiers).
pub fn refused(text: &str) -> String {
    if text.is_empty() {
        return "identifier must not be empty".to_owned();
    }
    if text.len() > 76 {
        return format!("identifier \"{text}\" greater than maximum length (76 characters)");
    }
    format!("identifier \"{text}\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$")
}
