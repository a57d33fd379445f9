//! Device rules under cgroup v2, which has no files for them: the rules become a small program that the kernel asks.
//! (Under v1 the devices controller has files, which `limits` writes.)
//!
//! Facts: the context is `bpf_cgroup_dev_ctx` {access << 16 | type, major, minor} with type 1 block, 2 character and access 1 mknod, 2 read,
//! 4 write (linux/bpf.h). The last rule that speaks of a device decides.

use crate::{cgroup::Dir, sys};
use libcontainer::oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use std::{fs::File, io};

/// One rule; none stands for any.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    allow: bool,
    kind: Option<i32>,
    major: Option<i32>,
    minor: Option<i32>,
    access: i32,
}

const MKNOD: i32 = 1;
const ALL: i32 = 7;
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// What every container may do, whatever its rules: make nodes, and use the harmless ones (the list of runc and libcontainer).
pub(super) const ALWAYS: [(char, Option<i64>, Option<i64>, &str); 12] = [
    ('c', None, None, "m"),
    ('b', None, None, "m"),
    ('c', Some(1), Some(3), "rwm"),
    ('c', Some(1), Some(5), "rwm"),
    ('c', Some(1), Some(7), "rwm"),
    ('c', Some(1), Some(8), "rwm"),
    ('c', Some(1), Some(9), "rwm"),
    ('c', Some(5), Some(0), "rwm"),
    ('c', Some(5), Some(1), "rwm"),
    ('c', Some(5), Some(2), "rwm"),
    ('c', Some(136), None, "rwm"),
    ('c', Some(10), Some(200), "rwm"),
];

/// Puts the rules on a v2 cgroup. No rules: nothing is restricted.
pub fn restrict(dir: &Dir, rules: &[LinuxDeviceCgroup]) -> io::Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let always = ALWAYS.map(|(kind, major, minor, access)| Rule {
        allow: true,
        kind: Some(if kind == 'b' { BLOCK } else { CHARACTER }),
        major: number(major),
        minor: number(minor),
        access: bits(access),
    });
    let rules: Vec<Rule> = rules.iter().map(Rule::read).chain(always).collect();
    let program = sys::load_device_program(&compile(&rules))?;
    sys::attach_device_program(&File::open(&dir.path)?, &program)
}

impl Rule {
    fn read(rule: &LinuxDeviceCgroup) -> Self {
        let kind = match rule.typ() {
            Some(LinuxDeviceType::B) => Some(BLOCK),
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(CHARACTER),
            _ => None,
        };
        let access = rule
            .access()
            .as_deref()
            .filter(|access| !access.is_empty())
            .unwrap_or("rwm");
        let access = bits(access);
        Self {
            allow: rule.allow(),
            kind,
            major: number(rule.major()),
            minor: number(rule.minor()),
            access,
        }
    }

    /// It speaks of every device and every access.
    fn is_total(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == ALL
    }
}

/// A number of a device; none stands for any.
fn number(number: Option<i64>) -> Option<i32> {
    let number = i32::try_from(number?).ok();
    number.filter(|number| *number >= 0)
}

/// `rwm` as the kernel has it.
fn bits(access: &str) -> i32 {
    let bit = |letter: char| match letter {
        'm' => MKNOD,
        'r' => 2,
        'w' => 4,
        _ => 0,
    };
    access.chars().fold(0, |all, letter| all | bit(letter))
}

/// One instruction: code, destination, source, jump, number.
type Instruction = (u8, u8, u8, i16, i32);

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const MOVE_NUMBER: u8 = 0xb7;
const AND_NUMBER: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const JUMP_UNLESS_SAME: u8 = 0x5d;
const EXIT: u8 = 0x95;

/// r2 type, r3 access, r4 major, r5 minor; the rules from the last to the first.
fn compile(rules: &[Rule]) -> Vec<u64> {
    let mut code: Vec<Instruction> = vec![
        (LOAD_WORD, 2, 1, 0, 0),
        (MOVE, 3, 2, 0, 0),
        (AND_NUMBER, 2, 0, 0, 0xffff),
        (SHIFT_RIGHT, 3, 0, 0, 16),
        (LOAD_WORD, 4, 1, 4, 0),
        (LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        code.extend(block(rule));
        if rule.is_total() {
            return code.into_iter().map(encode).collect();
        }
    }
    code.extend([(MOVE_NUMBER, 0, 0, 0, 1), (EXIT, 0, 0, 0, 0)]);
    code.into_iter().map(encode).collect()
}

fn block(rule: &Rule) -> Vec<Instruction> {
    let mut code: Vec<Instruction> = Vec::new();
    let unless = |register: u8, number: Option<i32>| number.map(|number| (JUMP_UNLESS_EQUAL, register, 0, 0, number));
    code.extend(unless(2, rule.kind));
    if rule.access != ALL {
        code.extend([(MOVE, 0, 3, 0, 0), (AND_NUMBER, 0, 0, 0, rule.access)]);
        // Allowed is what is wholly covered; denied is what is touched.
        code.push(if rule.allow {
            (JUMP_UNLESS_SAME, 0, 3, 0, 0)
        } else {
            (JUMP_IF_EQUAL, 0, 0, 0, 0)
        });
    }
    code.extend(unless(4, rule.major));
    code.extend(unless(5, rule.minor));
    code.extend([(MOVE_NUMBER, 0, 0, 0, i32::from(rule.allow)), (EXIT, 0, 0, 0, 0)]);
    let len = code.len();
    for (at, instruction) in code.iter_mut().enumerate() {
        if matches!(instruction.0, JUMP_IF_EQUAL | JUMP_UNLESS_EQUAL | JUMP_UNLESS_SAME) {
            instruction.3 = (len - at - 1) as i16;
        }
    }
    code
}

fn encode((code, to, from, jump, number): Instruction) -> u64 {
    let registers = (from << 4) | to;
    u64::from(code) | u64::from(registers) << 8 | u64::from(jump as u16) << 16 | u64::from(number as u32) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Version;
    use std::{fs, path::PathBuf, process::Command};

    fn unified() -> PathBuf {
        let v2 = PathBuf::from("/sys/fs/cgroup");
        if v2.join("cgroup.procs").exists() {
            v2
        } else {
            v2.join("unified")
        }
    }

    #[test]
    fn the_kernel_asks_the_rules() {
        let path = unified().join(format!("gantry-devices-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let dir = Dir {
            version: Version::Two,
            controllers: String::new(),
            path: path.clone(),
        };
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]"#,
        )
        .unwrap();
        restrict(&dir, &rules).unwrap();
        let attempt = |deed: &str| {
            let script = format!("echo $$ > {}/cgroup.procs && {deed}", path.display());
            Command::new("sh")
                .args(["-c", &script])
                .output()
                .unwrap()
                .status
                .success()
        };
        let node = std::env::temp_dir().join(format!("gantry-node-{}", std::process::id()));
        let node = node.display();
        assert!(attempt("head -c 1 /dev/zero > /dev/null"));
        assert!(
            attempt(&format!("mknod {node} c 1 4; test -c {node}")),
            "nodes may be made"
        );
        assert!(!attempt(&format!("head -c 1 {node}")), "and not used");
        assert!(attempt(": < /dev/kmsg"), "an allowed one may be read");
        assert!(!attempt(": > /dev/kmsg"), "and not written");
        fs::remove_file(node.to_string()).unwrap();
        fs::remove_dir(&path).unwrap();
    }
}
