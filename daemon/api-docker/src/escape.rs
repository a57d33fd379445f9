//! The keys that detach, looked for in what is typed: `ctrl-p,ctrl-q` unless the client says otherwise.

use crate::answer::Failure;

const DEFAULT: [u8; 2] = [0x10, 0x11];

/// Reads `ctrl-<key>` or single characters, joined by commas.
pub fn keys(text: &str) -> Result<Vec<u8>, Failure> {
    if text.is_empty() {
        return Ok(DEFAULT.to_vec());
    }
    let odd = |part: &str| Failure::bad(format!("Unknown character: '{part}'"));
    text.split(',')
        .map(|part| match part.strip_prefix("ctrl-") {
            Some(key) => match key.as_bytes() {
                [letter @ b'a'..=b'z'] => Ok(letter - b'a' + 1),
                [b'@'] => Ok(0),
                [mark @ (b'[' | b'\\' | b']' | b'^' | b'_')] => Ok(mark - b'[' + 27),
                _ => Err(odd(key)),
            },
            None => match part.as_bytes() {
                [one] => Ok(*one),
                _ => Err(odd(part)),
            },
        })
        .collect()
}

/// Watches what is typed.
pub struct Watch {
    keys: Vec<u8>,
    seen: usize,
}

impl Watch {
    pub fn new(keys: Vec<u8>) -> Self {
        Self { keys, seen: 0 }
    }

    /// What goes on to the process, and whether the keys were all there. What may still become the keys is held back.
    pub fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len());
        for byte in typed {
            if self.keys.get(self.seen) == Some(byte) {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    return (out, true);
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.seen]);
            self.seen = usize::from(self.keys.first() == Some(byte));
            if self.seen == 0 {
                out.push(*byte);
            }
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read() {
        assert_eq!(keys("").unwrap(), DEFAULT);
        assert_eq!(keys("ctrl-a,x,ctrl-[").unwrap(), [1, b'x', 27]);
        for bad in ["ctrl-", "ctrl-A", "xx", "ctrl-p,,"] {
            assert!(keys(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_keys_are_found_across_reads() {
        let mut watch = Watch::new(DEFAULT.to_vec());
        assert_eq!(watch.pass(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(watch.pass(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(watch.pass(b"\x10\x10\x11d"), (b"\x10".to_vec(), true));
    }
}
