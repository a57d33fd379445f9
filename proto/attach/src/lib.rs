//! The wire of the attach socket: what a client (`gantry`, the daemon) and a shim say to one another about the
//! stdio of one process. Bytes and words only.
//!
//! It never opens a socket, waits or allocates more than one frame.
//!
//! The one flow: a client connects to the shim's attach socket (unix stream, mode 0600), sends one [`Hello`] frame and gets
//! `READY` (from that moment no byte of output is missed) or `ERROR`. Then output arrives as `OUTPUT` frames, and when the
//! process has ended and every byte of its output has been sent, one `EXIT` frame closes the conversation. Meanwhile the client may send
//! stdin, its end, window sizes, signals, and `DETACH` (or just hang up, which means the same).
//!
//! ```text
//!  0        1        2        3        4                                   8
//!  +--------+--------+--------+--------+--------+--------+--------+--------+----------------
//!  |  kind  | stream |   0    |   0    |       payload length, big endian  | payload ...
//!  +--------+--------+--------+--------+--------+--------+--------+--------+----------------
//! ```
//!
//! | kind | name | from | stream | payload |
//! |---|---|---|---|---|
//! | 0x01 | HELLO | client | 0 | JSON [`Hello`], always the first frame of a stdio conversation |
//! | 0x02 | STDIN | client | 0 | raw bytes |
//! | 0x03 | STDIN_EOF | client | 0 | none |
//! | 0x04 | RESIZE | client | 0 | height u16, width u16, big endian |
//! | 0x05 | SIGNAL | client | 0 | signal number u32, big endian |
//! | 0x06 | DETACH | client | 0 | none |
//! | 0x11 | PUT | client | 0 | JSON [`Names`] with n names; n descriptors travel as SCM_RIGHTS with the first byte of the frame |
//! | 0x12 | TAKE | client | 0 | JSON [`Names`]; answered by KEPT |
//! | 0x81 | READY | shim | 0 | JSON [`Ready`] |
//! | 0x82 | OUTPUT | shim | 1 stdout, 2 stderr | raw bytes, at most [`MAX_OUTPUT`] |
//! | 0x83 | EXIT | shim | 0 | JSON [`Exit`], the last frame |
//! | 0x84 | ERROR | shim | 0 | JSON [`Refusal`], the last frame |
//! | 0x91 | KEPT | shim | 0 | JSON [`Names`]: what was put, or found; after TAKE the descriptors travel as SCM_RIGHTS with the first byte |
//!
//! A conversation that starts with PUT or TAKE is about kept descriptors only: any number of PUT and TAKE frames, each answered by KEPT or
//! ERROR. TAKE hands out duplicates: the shim keeps its own until told to drop it (`Extras.DropDescriptors`). At most
//! [`MAX_DESCRIPTORS`] go with one frame.

mod frame;
mod words;

pub use frame::{
    Decoder, Frame, FrameError, HEADER_LEN, Kind, MAX_OUTPUT, MAX_PAYLOAD, decode_header, encode, encode_json, header,
};
pub use words::{
    Exit, Hello, MAX_DESCRIPTORS, Names, Ready, Refusal, RefusalKind, STDERR, STDOUT, decode_resize, decode_signal,
    encode_resize, encode_signal,
};
