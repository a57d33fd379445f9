//! One range of an id map.

use crate::Error;
use std::fmt;
use std::str::FromStr;

/// `size` ids from `container` on are `host` and following outside. Written `container:host:size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    pub container: u32,
    pub host: u32,
    pub size: u32,
}

impl IdMap {
    /// The id outside, if this range covers it.
    pub fn host_id(&self, id: u32) -> Option<u32> {
        let offset = id.checked_sub(self.container)?;
        (offset < self.size).then(|| self.host.checked_add(offset)).flatten()
    }

    /// Ranges separated by commas, as mount options and labels carry them.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, Error> {
        text.split(',').map(str::parse).collect()
    }

    /// The inverse of [`IdMap::parse_list`].
    pub fn format_list(maps: &[Self]) -> String {
        let texts: Vec<String> = maps.iter().map(Self::to_string).collect();
        texts.join(",")
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.container, self.host, self.size)
    }
}

impl FromStr for IdMap {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::IdMap { text: text.to_owned() };
        let numbers: Vec<u32> = text
            .split(':')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| wrong())?;
        match numbers[..] {
            [container, host, size] if size > 0 => Ok(Self { container, host, size }),
            [] | [_, ..] => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_refuses_the_rest() {
        let maps = IdMap::parse_list("0:100000:65536,70000:5:1").unwrap();
        assert_eq!(IdMap::format_list(&maps), "0:100000:65536,70000:5:1");
        assert_eq!(maps[0].host_id(65535), Some(165535));
        assert_eq!(maps[0].host_id(65536), None);
        for wrong in ["", "0", "0:1", "0:1:0", "a:1:2", "0:1:2:3", "0:1:-2"] {
            assert!(IdMap::parse_list(wrong).is_err(), "{wrong:?}");
        }
    }
}
