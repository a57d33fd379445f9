//! A small image of erofs, for no Debian has the program that makes one installed.
//!
//! Layout: `Documentation/filesystems/erofs.rst` and `fs/erofs/erofs_fs.h` of Linux. Three blocks: the superblock and two compact
//! inodes, the root directory, one file.

const BLOCK: usize = 4096;
const MAGIC: u32 = 0xe0f5_e1e2;
/// Bytes of a compact inode, the unit of numbers of inodes.
const SLOT: usize = 32;
/// The first inodes behind the superblock.
const ROOT: u16 = 36;
const FILE: u16 = 37;

/// An image whose root has this one file.
pub fn image(name: &str, content: &str) -> Vec<u8> {
    let mut image = vec![0; 3 * BLOCK];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    let superblock = 1024;
    put(superblock, &MAGIC.to_le_bytes());
    put(superblock + 12, &[12]);
    put(superblock + 14, &ROOT.to_le_bytes());
    put(superblock + 16, &2_u64.to_le_bytes());
    put(superblock + 36, &3_u32.to_le_bytes());
    let root = directory(&[(".", ROOT, 2), ("..", ROOT, 2), (name, FILE, 1)]);
    put(usize::from(ROOT) * SLOT, &inode(0o040_755, 2, root.len(), 1));
    put(usize::from(FILE) * SLOT, &inode(0o100_644, 1, content.len(), 2));
    put(BLOCK, &root);
    put(2 * BLOCK, content.as_bytes());
    image
}

fn inode(mode: u16, links: u16, size: usize, block: u32) -> [u8; SLOT] {
    let mut inode = [0; SLOT];
    inode[4..6].copy_from_slice(&mode.to_le_bytes());
    inode[6..8].copy_from_slice(&links.to_le_bytes());
    let size = u32::try_from(size).expect("it fits into a block");
    inode[8..12].copy_from_slice(&size.to_le_bytes());
    inode[16..20].copy_from_slice(&block.to_le_bytes());
    inode
}

/// Entries in the order of their names, then the names.
fn directory(entries: &[(&str, u16, u8)]) -> Vec<u8> {
    const ENTRY: usize = 12;
    let (mut table, mut names) = (Vec::<u8>::new(), Vec::<u8>::new());
    for (name, inode, kind) in entries {
        let at = u16::try_from(entries.len() * ENTRY + names.len()).expect("it fits into a block");
        table.extend(u64::from(*inode).to_le_bytes());
        table.extend(at.to_le_bytes());
        table.extend([*kind, 0]);
        names.extend(name.as_bytes());
    }
    table.extend(names);
    table
}
