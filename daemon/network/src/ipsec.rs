//! Encryption between hosts, by the kernel's IPsec: what goes to one UDP port of a peer, and comes to it from there, goes in ESP in transport
//! mode (RFC 4303) with AES-GCM (RFC 4106), and never in the clear.
//!
//! All hosts share a ring of keys ([`Ring`]): the one in use, the one before it and the next. Each pair of hosts and direction has a key
//! of its own that follows from them, so no two senders use one. Hosts are ready to hear by all three, so that it does not matter who
//! changes to the next first. [`Guard`] makes the kernel be as the ring and the peers say.

mod layout;
mod ring;
mod socket;

pub use ring::{Ring, Secret};

use crate::{Error, Result, netns};
use layout::{Association, Direction, Verdict};
use nix::sched::{CloneFlags, unshare};
use socket::Xfrm;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

/// What marks all that is ours (`reqid`): "gtry".
const MARK: u32 = u32::from_be_bytes(*b"gtry");

/// Another host. The word is new whenever its counters begin anew (its boot id): no key is used twice from one count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    pub address: IpAddr,
    pub word: String,
}

/// One host's side of encryption.
#[derive(Debug, Clone)]
pub struct Guard {
    local: Peer,
    port: u16,
}

/// Whether the kernel can do it; an error that says what it lacks.
pub fn check() -> Result<()> {
    let one = IpAddr::from([127, 0, 0, 1]);
    let probe = Association {
        from: one,
        to: one,
        spi: 0x0067_7279,
        key: [1; 20],
    };
    // Where nobody is disturbed by it.
    let tried = netns::in_thread(|| {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Error::NetlinkSocket(errno.into()))?;
        Xfrm::open()?.add(&probe)
    });
    match tried {
        Ok(()) => Ok(()),
        Err(Error::Kernel { source, .. } | Error::NetlinkSocket(source)) if lacks(&source) => Err(Error::Unsupported(
            "the kernel lacks what encryption needs: ESP with rfc4106(gcm(aes)) (CONFIG_INET_ESP, CONFIG_CRYPTO_GCM)"
                .to_owned(),
        )),
        Err(error) => Err(error),
    }
}

fn lacks(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let known = [
        Errno::ENOSYS,
        Errno::ENOENT,
        Errno::EPROTONOSUPPORT,
        Errno::EOPNOTSUPP,
        Errno::ESOCKTNOSUPPORT,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| known.contains(&Errno::from_raw(code)))
}

impl Guard {
    /// `port`: the UDP port that is never to be seen in the clear.
    pub fn new(local: Peer, port: u16) -> Self {
        Self { local, port }
    }

    /// Makes the kernel encrypt to these peers by these keys, and to nobody else. From the first call on, what is not encrypted is not sent
    /// and not taken.
    pub fn set(&self, ring: &Ring, peers: &[Peer]) -> Result<()> {
        let mut xfrm = Xfrm::open()?;
        let mut wanted = BTreeMap::new();
        for peer in peers {
            for secret in ring.all() {
                for (from, to) in [(&self.local, peer), (peer, &self.local)] {
                    let one = secret.between(from, to);
                    wanted.insert((one.to, one.spi), one);
                }
            }
        }
        // First what is heard and said with, then who says what, then what nobody uses any more.
        let known = xfrm.associations(MARK)?;
        for (id, one) in &wanted {
            if !known.contains(id) {
                xfrm.add(one)?;
            }
        }
        self.block(&mut xfrm)?;
        for peer in peers {
            let spi = ring.current.between(&self.local, peer).spi;
            xfrm.allow(Direction::Out, self.local.address, peer.address, self.port, spi)?;
            xfrm.allow(Direction::In, peer.address, self.local.address, self.port, 0)?;
        }
        let here = |address: IpAddr| peers.iter().any(|peer| peer.address == address);
        for policy in xfrm.policies(self.port)? {
            let other = match policy.direction {
                Direction::Out => policy.to,
                Direction::In => policy.from,
            };
            if policy.verdict == Verdict::Encrypt && !here(other) {
                xfrm.forget(&policy)?;
            }
        }
        for (to, spi) in known {
            if !wanted.contains_key(&(to, spi)) {
                xfrm.remove(to, spi)?;
            }
        }
        Ok(())
    }

    fn block(&self, xfrm: &mut Xfrm) -> Result<()> {
        xfrm.block(Direction::Out, self.local.address, self.port)?;
        xfrm.block(Direction::In, self.local.address, self.port)
    }

    /// Takes everything away, when nothing is to be encrypted any more.
    pub fn clear(&self) -> Result<()> {
        let mut xfrm = Xfrm::open()?;
        for policy in xfrm.policies(self.port)? {
            xfrm.forget(&policy)?;
        }
        for (to, spi) in xfrm.associations(MARK)? {
            xfrm.remove(to, spi)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
