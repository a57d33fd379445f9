//! Who runs a process: `user[:group]` by name or number, looked up in the container's own files.
//!
//! Rules and texts as Docker's. The files are those of the container's root filesystem; a missing one has no entries.

use crate::{Error, Result};

/// Largest id.
const MAX_ID: u64 = (1 << 31) - 1;

/// A user in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedUser {
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    pub home: String,
}

impl ResolvedUser {
    pub fn root() -> Self {
        Self {
            uid: 0,
            gid: 0,
            additional_gids: Vec::new(),
            home: "/root".to_owned(),
        }
    }
}

/// A group by name or number, as `--group-add` names it.
pub fn group(name: &str, groups: Option<&str>) -> Result<u32> {
    if let Some(entry) = group_entries(groups).into_iter().find(|entry| entry.name == name) {
        return Ok(entry.gid);
    }
    name.parse::<u32>()
        .ok()
        .filter(|gid| u64::from(*gid) <= MAX_ID)
        .ok_or_else(|| Error::invalid(format!("Unable to find group {name}")))
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

/// Lines that do not parse are no entries, as in the C library.
fn passwd_entries(text: Option<&str>) -> Vec<PasswdEntry<'_>> {
    let line = |line| {
        let fields: Vec<&str> = str::split(line, ':').collect();
        Some(PasswdEntry {
            name: fields.first().filter(|name| !name.is_empty())?,
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
            home: fields.get(5).copied().unwrap_or_default(),
        })
    };
    text.unwrap_or_default().lines().filter_map(line).collect()
}

fn group_entries(text: Option<&str>) -> Vec<GroupEntry<'_>> {
    let line = |line| {
        let fields: Vec<&str> = str::split(line, ':').collect();
        Some(GroupEntry {
            name: fields.first().filter(|name| !name.is_empty())?,
            gid: fields.get(2)?.parse().ok()?,
            members: fields
                .get(3)
                .copied()
                .unwrap_or_default()
                .split(',')
                .map(str::trim)
                .collect(),
        })
    };
    text.unwrap_or_default().lines().filter_map(line).collect()
}

/// The user that `spec` names, with the groups that list it.
pub fn resolve(spec: &str, passwd: Option<&str>, group: Option<&str>) -> Result<ResolvedUser> {
    let (user_arg, group_arg) = spec.split_once(':').unwrap_or((spec, ""));
    let number = |text: &str| {
        text.parse::<u64>()
            .ok()
            .filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
    };
    let users = passwd_entries(passwd);
    let matches = |entry: &&PasswdEntry<'_>| {
        if user_arg.is_empty() {
            entry.uid == 0
        } else {
            entry.name == user_arg || number(user_arg) == Some(u64::from(entry.uid))
        }
    };
    let mut resolved = ResolvedUser {
        uid: 0,
        gid: 0,
        additional_gids: Vec::new(),
        home: "/".to_owned(),
    };
    let found = users.iter().find(matches);
    if let Some(entry) = found {
        (resolved.uid, resolved.gid) = (entry.uid, entry.gid);
        if !entry.home.is_empty() {
            resolved.home = entry.home.to_owned();
        }
    } else if !user_arg.is_empty() {
        let missing = || {
            Error::invalid(format!(
                "unable to find user {user_arg}: no matching entries in passwd file"
            ))
        };
        resolved.uid = in_range(signed(user_arg).ok_or_else(missing)?)?;
    }

    let groups = group_entries(group);
    if !group_arg.is_empty() {
        let by_arg =
            |entry: &&GroupEntry<'_>| entry.name == group_arg || number(group_arg) == Some(u64::from(entry.gid));
        let missing = || {
            Error::invalid(format!(
                "unable to find group {group_arg}: no matching entries in group file"
            ))
        };
        resolved.gid = match groups.iter().find(by_arg) {
            Some(entry) => entry.gid,
            None => in_range(signed(group_arg).ok_or_else(missing)?)?,
        };
    } else if let Some(user) = found {
        resolved.additional_gids = groups
            .iter()
            .filter(|entry| entry.members.contains(&user.name))
            .map(|entry| entry.gid)
            .collect();
    }
    Ok(resolved)
}

/// A number that nobody has a name for may have a sign, too.
fn signed(text: &str) -> Option<i64> {
    text.parse().ok()
}

fn in_range(id: i64) -> Result<u32> {
    let in_range = u32::try_from(id).ok().filter(|id| u64::from(*id) <= MAX_ID);
    in_range.ok_or_else(|| Error::invalid(format!("uids and gids must be in range 0-{MAX_ID}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nbroken\n# no\nweb:x:33:33:www:/var/www:/bin/false\n1000:x:7:8::/n:\n";
    const GROUP: &str = "root:x:0:\nwww:x:33:\naudio:x:29:web,root\nvideo:x:44:other,web\n";

    fn ok(spec: &str) -> (u32, u32, Vec<u32>, String) {
        let user = resolve(spec, Some(PASSWD), Some(GROUP)).unwrap();
        (user.uid, user.gid, user.additional_gids, user.home)
    }

    #[test]
    fn names_numbers_and_groups() {
        assert_eq!(ok(""), (0, 0, vec![29], "/root".into()));
        assert_eq!(ok("web"), (33, 33, vec![29, 44], "/var/www".into()));
        assert_eq!(ok("33"), (33, 33, vec![29, 44], "/var/www".into()));
        assert_eq!(ok("web:video"), (33, 44, vec![], "/var/www".into()));
        assert_eq!(ok("5:6"), (5, 6, vec![], "/".into()));
        assert_eq!(ok(":audio"), (0, 29, vec![], "/root".into()));
        assert_eq!(
            ok("1000"),
            (7, 8, vec![], "/n".into()),
            "a name made of digits wins, as it stands first"
        );
        let bare = resolve("4", None, None).unwrap();
        assert_eq!((bare.uid, bare.gid, bare.home.as_str()), (4, 0, "/"));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let text = |spec: &str| resolve(spec, Some(PASSWD), None).unwrap_err().to_string();
        assert_eq!(
            text("bob"),
            "unable to find user bob: no matching entries in passwd file"
        );
        assert_eq!(
            text("web:staff"),
            "unable to find group staff: no matching entries in group file"
        );
        assert_eq!(text("2147483648"), "uids and gids must be in range 0-2147483647");
        assert_eq!(text("-1"), "uids and gids must be in range 0-2147483647");
        assert_eq!(resolve("+1", Some(PASSWD), None).unwrap().uid, 1);
    }
}
