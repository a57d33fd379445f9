//! Signals by name and number, as Linux numbers them on x86, arm and riscv.

use crate::{Error, Result};

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
const ALIASES: [(&str, i32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];

/// First and last of the real-time signals that the C library leaves to programs.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

pub const SIGKILL: i32 = 9;
pub const SIGTERM: i32 = 15;

/// The number of `15`, `TERM`, `SIGTERM`, `RTMIN+3` or `SIGRTMAX-1`, in any case.
pub fn parse(text: &str) -> Result<i32> {
    number(text).ok_or_else(|| Error::invalid(format!("invalid signal: {text}")))
}

fn number(text: &str) -> Option<i32> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().filter(|number| (1..=RTMAX).contains(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(place) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(place + 1).ok();
    }
    if let Some((_, number)) = ALIASES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        _ => rest
            .strip_prefix(sign)?
            .parse::<i32>()
            .ok()
            .filter(|n| (0..=RTMAX - RTMIN).contains(n)),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest, '+').map(|n| RTMIN + n);
    }
    name.strip_prefix("RTMAX")
        .and_then(|rest| offset(rest, '-'))
        .map(|n| RTMAX - n)
}

/// `SIGTERM` of 15; a number without a name as itself.
pub fn name(number: i32) -> String {
    let known = usize::try_from(number - 1).ok().and_then(|place| NAMES.get(place));
    match (known, number) {
        (Some(name), _) => format!("SIG{name}"),
        (None, RTMIN) => "SIGRTMIN".to_owned(),
        (None, RTMAX) => "SIGRTMAX".to_owned(),
        (None, RTMIN..RTMAX) => format!("SIGRTMIN+{}", number - RTMIN),
        (None, _) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("sigkill", 9),
            ("SIGTERM", 15),
            ("poll", 29),
            ("SIGSYS", 31),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("rtmax", 64),
            ("64", 64),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for bad in [
            "",
            "0",
            "65",
            "-9",
            "SIGNOPE",
            "RTMIN+31",
            "RTMAX-40",
            "RTMIN-1",
            "99999999999",
        ] {
            assert_eq!(parse(bad).unwrap_err().to_string(), format!("invalid signal: {bad}"));
        }
    }

    #[test]
    fn a_name_leads_back() {
        for number in 1..=64 {
            assert_eq!(parse(&name(number)).unwrap(), number);
        }
    }
}
