use super::*;
use crate::netns::testing::alone;
use layout::Policy;

/// Bytes as hex digits; `00*12` stands for twelve of them.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
        for _ in 0..times.parse::<usize>().unwrap() {
            let pairs = (0..digits.len()).step_by(2);
            bytes.extend(pairs.map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()));
        }
    }
    bytes
}

fn association() -> Association {
    let mut key = [0; 20];
    for (byte, value) in key.iter_mut().zip(1..) {
        *byte = value;
    }
    Association {
        from: "192.0.2.1".parse().unwrap(),
        to: "192.0.2.2".parse().unwrap(),
        spi: 0x1000,
        key,
    }
}

fn policy(direction: Direction, from: &str, to: &str, verdict: Verdict, spi: u32) -> Policy {
    Policy {
        direction,
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        port: 14_789,
        verdict,
        spi,
    }
}

/// What iproute2 6.1 sends for the same (`ip xfrm state add ... aead "rfc4106(gcm(aes))"`, `ip xfrm policy update`, `delete`).
#[test]
#[cfg(target_endian = "little")]
fn messages_are_those_of_ip() {
    let state = "00*56 c0000202 00*14 100032000000c0000201 00*12 ff*32 00*80 797274670200000080 00*7 60001200726663343130362867636d286165732929 00*47 a0000000800000000102030405060708090a0b0c0d0e0f10111213141c00170020 00*20 040000";
    assert_eq!(association().message(), bytes(state));
    let removal = "c0000202 00*14 100002003200";
    let one = association();
    assert_eq!(Association::id(one.to, one.spi), bytes(removal));
    let out = policy(Direction::Out, "192.0.2.1", "192.0.2.2", Verdict::Encrypt, 0x1000);
    let said = "c0000202 00*12 c0000201 00*12 39c5ffff 00*4 0200202011 00*11 ff*32 00*64 e803 00*6 01 00*7 44000500c0000202 00*14 10003200000002000000c0000201 00*12 79727467 00*4 ff*12";
    assert_eq!(out.message(), bytes(said));
    let away = "c0000202 00*12 c0000201 00*12 39c5ffff 00*4 0200202011 00*15 01000000";
    assert_eq!(out.id(), bytes(away));
    let block = policy(Direction::In, "::", "2001:db8::1", Verdict::Block, 0);
    let said = "20010db8 00*11 01 00*16 39c5ffff 00*4 0a00800011 00*11 ff*32 00*64 d007 00*7 01 00*6";
    assert_eq!(block.message(), bytes(said));
}

#[test]
fn what_is_said_is_read() {
    let one = association();
    assert_eq!(Association::read(&one.message(), MARK), Some((one.to, one.spi)));
    assert_eq!(Association::read(&one.message(), MARK + 1), None, "somebody else's");
    for policy in [
        policy(Direction::Out, "192.0.2.1", "192.0.2.2", Verdict::Encrypt, 0x1000),
        policy(Direction::In, "::", "2001:db8::1", Verdict::Block, 0),
    ] {
        assert_eq!(Policy::read(&policy.message(), 14_789), Some(policy.clone()));
        assert_eq!(Policy::read(&policy.message(), 14_790), None);
        assert_eq!(Policy::read(&policy.message()[..100], 14_789), None);
    }
}

/// The kernel has policies even where it lacks ESP.
#[test]
fn policies_are_set_and_taken_back() {
    alone(|| {
        let mut xfrm = Xfrm::open().unwrap();
        let (here, there): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        for spi in [0x1000, 0x2000] {
            xfrm.block(Direction::Out, here, 14_789).unwrap();
            xfrm.allow(Direction::Out, here, there, 14_789, spi).unwrap();
            xfrm.allow(Direction::In, there, here, 14_789, 0).unwrap();
        }
        let mut known = xfrm.policies(14_789).unwrap();
        known.sort_by_key(|policy| (policy.direction, policy.verdict));
        let wanted = [
            policy(Direction::In, "192.0.2.2", "192.0.2.1", Verdict::Encrypt, 0),
            policy(Direction::Out, "192.0.2.1", "192.0.2.2", Verdict::Encrypt, 0x2000),
            policy(Direction::Out, "192.0.2.1", "0.0.0.0", Verdict::Block, 0),
        ];
        assert_eq!(known, wanted);
        assert_eq!(xfrm.policies(14_790).unwrap(), []);
        for policy in &known {
            xfrm.forget(policy).unwrap();
            xfrm.forget(policy).unwrap();
        }
        assert_eq!(xfrm.policies(14_789).unwrap(), []);
        assert_eq!(xfrm.associations(MARK).unwrap(), []);
        xfrm.remove(there, 0x1000).unwrap();
    });
}

/// Where the kernel has ESP, everything is set; where it has not, it says that, and not that a message was wrong.
#[test]
fn a_kernel_without_esp_is_told_from_a_wrong_message() {
    alone(|| {
        let peer = |last: u8| Peer {
            address: IpAddr::from([192, 0, 2, last]),
            word: last.to_string(),
        };
        let guard = Guard::new(peer(1), 14_789);
        let mut count = 0;
        let mut random = || {
            count += 1;
            Secret::from_random([count; 32])
        };
        let ring = Ring::new(0, &mut random);
        match check() {
            Err(error) => {
                assert!(matches!(error, Error::Unsupported(_)), "{error}");
                assert!(error.to_string().contains("rfc4106(gcm(aes))"), "{error}");
                assert!(guard.set(&ring, &[peer(2)]).is_err());
            }
            Ok(()) => {
                let turned = ring.turned(1, random());
                for ring in [&ring, &ring, &turned] {
                    guard.set(ring, &[peer(2), peer(3)]).unwrap();
                }
                let mut xfrm = Xfrm::open().unwrap();
                assert_eq!(
                    xfrm.associations(MARK).unwrap().len(),
                    12,
                    "two ways, two peers, three keys"
                );
                guard.set(&turned, &[peer(3)]).unwrap();
                assert_eq!(xfrm.associations(MARK).unwrap().len(), 6);
                assert_eq!(xfrm.policies(14_789).unwrap().len(), 4);
            }
        }
        guard.clear().unwrap();
        assert_eq!(Xfrm::open().unwrap().policies(14_789).unwrap(), []);
    });
}
