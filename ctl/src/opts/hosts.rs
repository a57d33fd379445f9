//! Names and addresses that flags carry: `--dns`, `--dns-search`, `--add-host`, `--link`, `--mac-address`.

use std::net::IpAddr;

/// An address in its usual form.
pub(crate) fn address(text: &str) -> Result<String, String> {
    let parsed = text.trim().parse::<IpAddr>();
    parsed
        .map(|address| address.to_string())
        .map_err(|_| format!("IP address is not correctly formatted: {text}"))
}

/// A domain, or "." for none.
pub(crate) fn domain(text: &str) -> Result<String, String> {
    let name = text.trim();
    if name == "." {
        return Ok(name.to_owned());
    }
    let label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(fits) && !label.starts_with('-') && !label.ends_with('-')
    };
    let bare = name.strip_suffix('.').unwrap_or(name);
    let has_letter = bare.bytes().any(|byte| byte.is_ascii_alphabetic());
    if !has_letter || bare.len() >= 255 || !bare.split('.').all(label) {
        return Err(format!("{text} is not a valid domain"));
    }
    Ok(name.to_owned())
}

/// "name=address" or "name:address" as "name:address"; the address may be "host-gateway" and stand in brackets.
pub(crate) fn extra_host(text: &str) -> Result<String, String> {
    let bad = || format!("bad format for add-host: {text:?}");
    let (name, given) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
    if name.is_empty() || name.contains(':') {
        return Err(bad());
    }
    if given == "host-gateway" {
        return Ok(format!("{name}:{given}"));
    }
    let inner = given.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let plain = inner.unwrap_or(given);
    address(plain).map_err(|_| format!("invalid IP address in add-host: {plain:?}"))?;
    Ok(format!("{name}:{plain}"))
}

/// "container[:alias]" as "container:alias"; without an alias the name is the alias.
pub(crate) fn link(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("empty string specified for links".into());
    }
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [name] => Ok(format!("{name}:{name}")),
        // As inspect shows it: "/db:/web/store".
        [name, alias] if name.starts_with('/') => {
            let alias = alias.rsplit('/').next().unwrap_or_default();
            Ok(format!("{}:{alias}", &name[1..]))
        }
        [name, alias] if !name.is_empty() && !alias.is_empty() => Ok(format!("{name}:{alias}")),
        _ => Err(format!("bad format for links: {text}")),
    }
}

/// Six bytes in hexadecimal, between them ':' or '-'.
pub(crate) fn mac(text: &str) -> Result<(), String> {
    let text = text.trim();
    let separator = if text.contains('-') { '-' } else { ':' };
    let parts: Vec<&str> = text.split(separator).collect();
    let pair = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if parts.len() != 6 || !parts.iter().all(pair) {
        return Err(format!("{text} is not a valid mac address"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_hosts() {
        for (text, want) in [
            ("a:1.2.3.4", "a:1.2.3.4"),
            ("a=1.2.3.4", "a:1.2.3.4"),
            ("a:::1", "a:::1"),
            ("a=[::1]", "a:::1"),
            ("a:[fd00::2]", "a:fd00::2"),
            ("x:host-gateway", "x:host-gateway"),
            ("x=host-gateway", "x:host-gateway"),
        ] {
            assert_eq!(extra_host(text).unwrap(), want, "{text}");
        }
        assert_eq!(extra_host("a").unwrap_err(), "bad format for add-host: \"a\"");
        assert_eq!(
            extra_host(":1.2.3.4").unwrap_err(),
            "bad format for add-host: \":1.2.3.4\""
        );
        assert_eq!(
            extra_host("a:b=1.2.3.4").unwrap_err(),
            "bad format for add-host: \"a:b=1.2.3.4\""
        );
        assert_eq!(extra_host("a:b").unwrap_err(), "invalid IP address in add-host: \"b\"");
    }

    #[test]
    fn addresses_domains_links_and_macs() {
        assert_eq!(address(" 0:0::1").unwrap(), "::1");
        assert_eq!(address("x").unwrap_err(), "IP address is not correctly formatted: x");
        for good in [".", "example.com", "a-b.c.", "x1"] {
            assert!(domain(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a..b", "a_b", "1.2"] {
            assert_eq!(domain(bad).unwrap_err(), format!("{bad} is not a valid domain"));
        }
        assert_eq!(link("db").unwrap(), "db:db");
        assert_eq!(link("db:store").unwrap(), "db:store");
        assert_eq!(link("/db:/web/store").unwrap(), "db:store");
        assert_eq!(link("").unwrap_err(), "empty string specified for links");
        assert_eq!(link("a:b:c").unwrap_err(), "bad format for links: a:b:c");
        assert!(mac("02:42:ac:11:00:02").is_ok() && mac("02-42-AC-11-00-02").is_ok());
        assert_eq!(mac("02:42").unwrap_err(), "02:42 is not a valid mac address");
    }
}
