//! Which mounts are performed here, and what is done to each before.
//!
//! A type may begin with changes, each ended by a slash: `format/mkdir/overlay`. Those that are known are made in their order; at
//! one that is not known the rest is the type, whatever it means to whoever mounts it.

use gantry_core::Mount;

/// What is done to a mount before it is performed, or answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alter {
    Format,
    Mkdir,
    Mkfs,
}

impl Alter {
    fn named(word: &str) -> Option<Self> {
        match word {
            "format" => Some(Self::Format),
            "mkdir" => Some(Self::Mkdir),
            "mkfs" => Some(Self::Mkfs),
            _ => None,
        }
    }
}

/// A mount without the changes in its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub mount: Mount,
    pub alters: Vec<Alter>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    /// Performed here.
    pub handled: Vec<Step>,
    /// Answered with its changes made, since they need what is mounted.
    pub first: Option<Step>,
    /// Answered as they are.
    pub rest: Vec<Mount>,
}

/// Mounts that need more than a mount call.
fn is_handled(kind: &str) -> bool {
    matches!(kind, "loop" | "erofs")
}

/// Whether a mount of this type may have to be activated: a quick look.
pub fn needs_more(kind: &str) -> bool {
    is_handled(kind) || kind.contains('/')
}

fn step(mount: &Mount) -> Step {
    let mut alters = Vec::new();
    let mut kind = mount.kind.as_str();
    while let Some((alter, rest)) = kind
        .split_once('/')
        .and_then(|(word, rest)| Some((Alter::named(word)?, rest)))
    {
        alters.push(alter);
        kind = rest;
    }
    let kind = kind.to_owned();
    Step {
        mount: Mount { kind, ..mount.clone() },
        alters,
    }
}

/// Whether the caller makes every change in the type itself: it allows them by `format/*`, or the whole type by its name.
fn makes_all(allowed: &[String], kind: &str, step: &Step) -> bool {
    let words = kind.split('/').take(step.alters.len());
    let is_allowed = |word: &str| allowed.iter().any(|one| one.strip_suffix("/*") == Some(word));
    allowed.iter().any(|one| one == kind) || words.into_iter().all(is_allowed)
}

/// None if the caller can mount all of it by itself.
pub fn plan(mounts: &[Mount], temporary: bool, allowed: &[String]) -> Option<Plan> {
    let steps: Vec<Step> = mounts.iter().map(step).collect();
    let mut count = None;
    for (at, (mount, step)) in mounts.iter().zip(&steps).enumerate() {
        if !step.alters.is_empty() && !makes_all(allowed, &mount.kind, step) {
            count = Some(at);
        }
        let left_alone = allowed.contains(&step.mount.kind);
        if temporary || (is_handled(&step.mount.kind) && !left_alone) {
            count = Some(at + 1);
        }
    }
    let count = count?;
    let rest = mounts.get(count + 1..).unwrap_or_default().to_vec();
    let mut handled = steps;
    handled.truncate(count + 1);
    let first = (handled.len() > count).then(|| handled.pop()).flatten();
    Some(Plan { handled, first, rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(kinds: &[&str]) -> Vec<Mount> {
        let one = |kind: &&str| Mount {
            kind: (*kind).to_owned(),
            source: String::new(),
            target: String::new(),
            options: Vec::new(),
        };
        kinds.iter().map(one).collect()
    }

    /// How many are handled, whether one is changed and answered, how many are answered as they are.
    fn shape(kinds: &[&str], temporary: bool, allowed: &[&str]) -> Option<(usize, bool, usize)> {
        let allowed: Vec<String> = allowed.iter().map(|&word| word.to_owned()).collect();
        let plan = plan(&mounts(kinds), temporary, &allowed)?;
        let altered = plan.first.as_ref().is_some_and(|step| !step.alters.is_empty());
        Some((
            plan.handled.len(),
            altered,
            plan.rest.len() + usize::from(plan.first.is_some()),
        ))
    }

    #[test]
    fn what_is_handled_and_what_is_left() {
        for (kinds, temporary, expected) in [
            (&[][..], false, None),
            (&["bind"], false, None),
            (&["overlay", "what/ever"], false, None),
            (&["loop"], false, Some((1, false, 0))),
            (&["loop", "bind", "bind"], false, Some((1, false, 2))),
            (&["bind", "format/overlay"], false, Some((1, true, 1))),
            (&["bind", "format/mkdir/overlay", "bind"], false, Some((1, true, 2))),
            (&["mkdir/bind"], false, Some((0, true, 1))),
            (&["mkfs/loop", "format/ext4"], false, Some((1, true, 1))),
            (&["mkfs/loop"], false, Some((1, false, 0))),
            (&["erofs", "erofs", "format/overlay"], false, Some((2, true, 1))),
            (&["bind"], true, Some((1, false, 0))),
            (&["erofs", "format/overlay"], true, Some((2, false, 0))),
        ] {
            assert_eq!(shape(kinds, temporary, &[]), expected, "{kinds:?}");
        }
    }

    #[test]
    fn what_the_caller_does_itself_is_left_to_it() {
        assert_eq!(shape(&["bind", "format/overlay"], false, &["format/*"]), None);
        assert_eq!(shape(&["bind", "format/overlay"], false, &["format/overlay"]), None);
        assert_eq!(
            shape(&["bind", "format/mkdir/overlay"], false, &["format/*"]),
            Some((1, true, 1))
        );
        assert_eq!(shape(&["loop"], false, &["loop"]), None);
        // What stands before something that is handled is handled.
        assert_eq!(shape(&["loop", "erofs"], false, &["loop"]), Some((2, false, 0)));
    }

    #[test]
    fn changes_are_made_in_their_order_up_to_one_that_is_unknown() {
        let known = step(&mounts(&["format/mkdir/other/overlay"])[0]);
        assert_eq!(known.alters, [Alter::Format, Alter::Mkdir]);
        assert_eq!(known.mount.kind, "other/overlay");
    }
}
