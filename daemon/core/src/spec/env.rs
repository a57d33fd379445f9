//! The environment of a container's process.

/// Docker's PATH.
pub(super) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Sets each of `over` in `base`: in place if the name is there, else at the end; a name without `=` removes.
pub(super) fn set(base: &mut Vec<String>, over: &[String]) {
    for entry in over {
        let name = name(entry);
        let place = base.iter().position(|other| self::name(other) == name);
        match (place, entry.contains('=')) {
            (Some(at), true) => base[at] = entry.clone(),
            (None, true) => base.push(entry.clone()),
            (Some(at), false) => {
                base.remove(at);
            }
            (None, false) => {}
        }
    }
}

pub(super) fn name(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(name, _)| name)
}

/// PATH, HOSTNAME and TERM, over them what is configured, and HOME if nothing says otherwise.
pub(super) fn build(hostname: &str, tty: bool, configured: &[&[String]], home: &str) -> Vec<String> {
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if tty {
        env.push("TERM=xterm".to_owned());
    }
    for layer in configured {
        set(&mut env, layer);
    }
    if !env
        .iter()
        .any(|entry| name(entry) == "HOME" && entry.len() > "HOME=".len())
    {
        set(&mut env, &[format!("HOME={home}")]);
    }
    env
}
