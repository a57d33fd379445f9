//! Detach keys: the sequence that leaves a container running and gives the terminal back.

/// ctrl-p, ctrl-q.
const DEFAULT: [u8; 2] = [16, 17];

/// Reads "ctrl-p,ctrl-q" or "x,y,ctrl-@": single characters and `ctrl-` with a letter or one of `@[\]^_`.
pub(crate) fn parse(text: Option<&str>) -> Result<Vec<u8>, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(DEFAULT.to_vec());
    };
    let key = |word: &str| -> Option<u8> {
        let letter = match word.strip_prefix("ctrl-") {
            Some(letter) => letter,
            None => return (word.len() == 1).then(|| word.as_bytes()[0]),
        };
        match letter.as_bytes() {
            [byte @ b'a'..=b'z'] => Some(byte - b'a' + 1),
            [byte @ (b'@' | b'['..=b'_')] => Some(byte - b'@'),
            _ => None,
        }
    };
    text.split(',')
        .map(|word| key(word).ok_or_else(|| format!("invalid detach keys ({text}): Unknown character: '{word}'")))
        .collect()
}

/// Watches what is typed for the sequence and passes on everything else.
pub(crate) struct Watch {
    keys: Vec<u8>,
    matched: usize,
}

impl Watch {
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// What of `typed` is to be passed on, and whether the sequence is complete.
    pub(crate) fn feed(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len());
        for byte in typed {
            if *byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (out, true);
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(*byte == self.keys[0]);
            if self.matched == 0 {
                out.push(*byte);
            }
        }
        (out, false)
    }

    /// What was held back and turned out to be no sequence.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let held = self.keys[..self.matched].to_vec();
        self.matched = 0;
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_read_as_docker_reads_them() {
        assert_eq!(parse(None), Ok(vec![16, 17]));
        assert_eq!(
            parse(Some("ctrl-a,x,ctrl-@,ctrl-_,ctrl-\\")),
            Ok(vec![1, b'x', 0, 31, 28])
        );
        assert_eq!(
            parse(Some("ctrl-1")).unwrap_err(),
            "invalid detach keys (ctrl-1): Unknown character: 'ctrl-1'"
        );
        assert!(parse(Some("foo")).is_err() && parse(Some("a,,b")).is_err());
    }

    #[test]
    fn only_the_whole_sequence_detaches() {
        let mut watch = Watch::new(vec![16, 17]);
        assert_eq!(watch.feed(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(watch.feed(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(watch.feed(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(watch.feed(b"\x11z"), (Vec::new(), true));
        let mut watch = Watch::new(vec![16, 17]);
        assert_eq!(watch.feed(b"x\x10"), (b"x".to_vec(), false));
        assert_eq!(watch.rest(), b"\x10");
    }
}
