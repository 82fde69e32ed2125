//! Memory straight from the platform: zeroed blocks that start on a cache line, large ones on huge pages where asked, and
//! some in files that the caller lends. A file takes all the room of its block at once: where there is none, that is an error
//! here. On a tmpfs no signal comes later, then, when the memory is touched; on a disk one may, where reading a page back
//! fails, and the process ends.
#![expect(
    unsafe_code,
    reason = "allocation and the platform's own calls; a block behaves like a boxed slice"
)]

use crate::nodes::{self, Lease};
use bytemuck::Pod;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// What a block starts at a multiple of, in bytes.
const LINE_BYTES: usize = 64;

/// A huge page of `x86_64`, and of aarch64 with pages of 4 KiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Memory nodes are numbered below this.
pub const NODES_MAX: u32 = 1024;

/// Blocks from this size on get a mapping of their own.
const MAPPED_BYTES_MIN: usize = 2 * HUGE_PAGE_BYTES;

/// How large blocks are laid out in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Paging {
    /// Pages as the system likes.
    #[default]
    Ordinary,
    /// Huge pages: those that are reserved (`vm.nr_hugepages`), else transparent ones.
    Huge,
}

/// Gives memory back to the system that the allocator keeps for later, as it does when much was read and dropped. Takes
/// some hundredths of a second a gigabyte. Does nothing where the allocator is not that of glibc.
pub fn return_unused() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it may be called at any time, and leaves alone what is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The processor that the calling thread runs on, or -1 where the system does not say. It may be another the next moment.
pub fn processor() -> i32 {
    #[cfg(target_os = "linux")]
    // SAFETY: it only asks.
    return unsafe { libc::sched_getcpu() };
    #[cfg(not(target_os = "linux"))]
    -1
}

/// Lets the calling thread, and those that it begins, run on these processors only.
#[cfg(target_os = "linux")]
pub(crate) fn pin_thread(cpus: &[u32]) -> io::Result<()> {
    // SAFETY: a set of bits, and zeros are none of them.
    let mut set = unsafe { std::mem::zeroed::<libc::cpu_set_t>() };
    for &cpu in cpus.iter().filter(|&&cpu| cpu < libc::CPU_SETSIZE as u32) {
        // SAFETY: the bit is in the set.
        unsafe { libc::CPU_SET(cpu as usize, &mut set) };
    }
    // SAFETY: 0 is the calling thread; the set is as large as it says.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets what the calling thread allocates lie on this memory node, while it has room.
#[cfg(target_os = "linux")]
pub(crate) fn prefer_node(node: u32) -> io::Result<()> {
    let mask = mask_of(&[node]);
    // SAFETY: the call reads as many bits of the mask as it is told, and changes where future pages come from.
    let result = unsafe {
        libc::syscall(libc::SYS_set_mempolicy, libc::MPOL_PREFERRED, mask.as_ptr(), u64::from(NODES_MAX) + 1)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets pages that are yet to be made lie on one memory node, while it has room, or on several in turn. The range is part
/// of a mapping, and begins on a page.
#[cfg(target_os = "linux")]
pub(crate) fn place_pages(start: NonNull<u8>, bytes: usize, on: &[u32]) -> io::Result<()> {
    let mask = mask_of(on);
    let mode = if on.len() == 1 { libc::MPOL_PREFERRED } else { libc::MPOL_INTERLEAVE };
    // SAFETY: as above; that the range is mapped is the caller's word, and the system refuses what is not.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            start.as_ptr(),
            bytes,
            mode,
            mask.as_ptr(),
            u64::from(NODES_MAX) + 1,
            0u32,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A bit for each memory node.
#[cfg(target_os = "linux")]
fn mask_of(nodes: &[u32]) -> [u64; NODES_MAX as usize / 64] {
    let mut mask = [0; NODES_MAX as usize / 64];
    nodes
        .iter()
        .filter(|&&node| node < NODES_MAX)
        .for_each(|&node| mask[node as usize / 64] |= 1 << (node % 64));
    mask
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_thread(_: &[u32]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn prefer_node(_: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn place_pages(_: NonNull<u8>, _: usize, _: &[u32]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Lends files that blocks lie in.
pub struct BlockFiles {
    /// An empty file without a name, to read and write; another one is not used. A block is memory like any other, so that
    /// whoever lends the file keeps no other handle of it: nobody may write to it, or shorten it, while the block is there.
    pub open: Box<dyn Fn() -> io::Result<File> + Send + Sync>,
    /// Is told how each block came out: of those that failed, why they lie in the memory of the process instead.
    pub note: Box<dyn Fn(io::Result<()>) + Send + Sync>,
}

impl BlockFiles {
    /// A block in a file, or in the memory of the process where that failed.
    pub(crate) fn block<T: Pod>(&self, len: usize, paging: Paging) -> Block<T> {
        match (self.open)().and_then(|file| Block::in_file(len, paging, &file)) {
            Ok(block) => {
                (self.note)(Ok(()));
                block
            }
            Err(error) => {
                (self.note)(Err(error));
                Block::zeroed(len, paging)
            }
        }
    }
}

impl std::fmt::Debug for BlockFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockFiles").finish_non_exhaustive()
    }
}

/// The bytes that a file system may take in memory, if this file lies in one that is memory; `u64::MAX` where nothing bounds
/// it.
#[cfg(target_os = "linux")]
pub fn memory_file_system_bytes(file: &File) -> io::Result<Option<u64>> {
    use std::os::fd::AsRawFd;
    /// Of tmpfs, and of ramfs, as in linux/magic.h.
    const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
    let mut found = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the descriptor is open, and there is room for the answer.
    if unsafe { libc::fstatfs(file.as_raw_fd(), found.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeros are a valid answer, and the call has filled it.
    let found = unsafe { found.assume_init() };
    let bytes = found.f_blocks * found.f_bsize as u64;
    // The type of the field differs between platforms, its low 32 bits do not.
    Ok(IN_MEMORY.contains(&(found.f_type as u32)).then_some(if bytes > 0 { bytes } else { u64::MAX }))
}

/// The same where it cannot be told.
#[cfg(not(target_os = "linux"))]
pub fn memory_file_system_bytes(_: &File) -> io::Result<Option<u64>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Gives a file so many bytes of room, all of it at once.
#[cfg(target_os = "linux")]
fn reserve(file: &File, bytes: usize) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let bytes = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    loop {
        // SAFETY: the descriptor is open; no memory is passed.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes) } {
            0 => return Ok(()),
            libc::EINTR => {}
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// A block of zeros at first, of a fixed length. Untouched pages of a large one take no memory, unless it lies in a file.
pub(crate) struct Block<T> {
    start: NonNull<T>,
    len: usize,
    /// Bytes of its own mapping; 0 if it comes from the allocator.
    mapped_bytes: usize,
    /// Its part of memory nodes, if they are shared out.
    _lease: Option<Lease>,
}

// SAFETY: a block owns its memory as a boxed slice does.
unsafe impl<T: Pod + Send> Send for Block<T> {}
// SAFETY: as above; shared access only reads.
unsafe impl<T: Pod + Sync> Sync for Block<T> {}

impl<T: Pod> Block<T> {
    /// A block of `len` zeros. Ends the process where there is no memory, as a `Vec` does.
    pub(crate) fn zeroed(len: usize, paging: Paging) -> Self {
        let layout = Self::layout(len);
        if layout.size() >= MAPPED_BYTES_MIN
            && let Some((start, mapped_bytes)) = map(layout.size(), paging)
        {
            let _lease = nodes::settle_block(start, mapped_bytes);
            return Self { start: start.cast(), len, mapped_bytes, _lease };
        }
        if layout.size() == 0 {
            return Self { start: NonNull::dangling(), len, mapped_bytes: 0, _lease: None };
        }
        // SAFETY: the size is not zero.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        Self { start: start.cast(), len, mapped_bytes: 0, _lease: None }
    }

    /// A block of `len` zeros in an empty file without a name, which nobody else may have.
    #[cfg(target_os = "linux")]
    fn in_file(len: usize, paging: Paging, file: &File) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::MetadataExt;
        let found = file.metadata()?;
        if found.len() != 0 || found.nlink() != 0 {
            return Err(io::Error::other("the file for a block has bytes already, or a name"));
        }
        let bytes = Self::layout(len).size();
        if bytes == 0 {
            return Ok(Self { start: NonNull::dangling(), len, mapped_bytes: 0, _lease: None });
        }
        file.set_len(bytes as u64)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping wherever the system likes, of a file that is as long; it begins on a page. As long as it is
        // there, nobody may write to the file or shorten it: the file was empty and had no name, as was just seen, so nobody
        // can open it, and who lends it keeps no handle (`BlockFiles::open`).
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<u8>()).expect("the system maps nothing at 0 unless asked to");
        let mut block = Self { start: start.cast(), len, mapped_bytes: bytes, _lease: None };
        if paging == Paging::Huge {
            advise_huge(start, bytes);
        }
        // Before the file has pages: they stay where they are made.
        if bytes >= MAPPED_BYTES_MIN {
            block._lease = nodes::settle_block(start, bytes);
        }
        reserve(file, bytes)?;
        Ok(block)
    }

    /// Elsewhere a file cannot promise its room.
    #[cfg(not(target_os = "linux"))]
    fn in_file(_: usize, _: Paging, _: &File) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn layout(len: usize) -> Layout {
        let layout = Layout::array::<T>(len).and_then(|layout| layout.align_to(LINE_BYTES));
        layout.expect("rows are counted in u32, and are short")
    }
}

impl<T> Deref for Block<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the block has `len` numbers, all of them zeroed at first, which is valid for `Pod`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Block<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and nobody else has it.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        let bytes = self.len * size_of::<T>();
        if self.mapped_bytes > 0 {
            unmap(self.start.cast(), self.mapped_bytes);
        } else if bytes > 0 {
            let layout = Layout::from_size_align(bytes, LINE_BYTES).expect("as it was allocated");
            // SAFETY: it was allocated with this layout, and is not used any more.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) };
        }
    }
}

/// A mapping of at least `bytes`, with its size; `None` where the system has none.
#[cfg(unix)]
fn map(bytes: usize, paging: Paging) -> Option<(NonNull<u8>, usize)> {
    let bytes = bytes.next_multiple_of(HUGE_PAGE_BYTES);
    let ask = |bytes: usize, flags: libc::c_int| {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
        // SAFETY: a new mapping of its own, wherever the system likes, harms nobody.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, -1, 0) };
        if start == libc::MAP_FAILED { None } else { NonNull::new(start.cast::<u8>()) }
    };
    if paging == Paging::Ordinary {
        return ask(bytes, 0).map(|start| (start, bytes));
    }
    #[cfg(target_os = "linux")]
    if let Some(start) = ask(bytes, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB) {
        return Some((start, bytes));
    }
    // One huge page more than needed, so that what is kept can start on one.
    let wide = ask(bytes + HUGE_PAGE_BYTES, 0)?;
    let before = wide.addr().get().next_multiple_of(HUGE_PAGE_BYTES) - wide.addr().get();
    // SAFETY: before + bytes <= bytes + HUGE_PAGE_BYTES, the size of the mapping.
    let (start, end) = unsafe { (wide.add(before), wide.add(before + bytes)) };
    for (part, bytes) in [(wide, before), (end, HUGE_PAGE_BYTES - before)] {
        if bytes > 0 {
            unmap(part, bytes);
        }
    }
    #[cfg(target_os = "linux")]
    advise_huge(start, bytes);
    Some((start, bytes))
}

/// Asks for huge pages in a range that is mapped.
#[cfg(target_os = "linux")]
fn advise_huge(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the range is ours; advice changes nothing that can be seen. Where it is not taken, pages are ordinary.
    unsafe {
        libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
    }
}

#[cfg(not(unix))]
fn map(_: usize, _: Paging) -> Option<(NonNull<u8>, usize)> {
    None
}

#[cfg(unix)]
fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the range is part of a mapping of ours, and is not used any more.
    let result = unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    debug_assert_eq!(result, 0, "whole pages of a mapping of ours");
}

#[cfg(not(unix))]
fn unmap(_: NonNull<u8>, _: usize) {
    unreachable!("nothing was mapped");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags of the mapping that holds this address.
    #[cfg(target_os = "linux")]
    fn flags_of(address: usize) -> Vec<String> {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().unwrap().split_once('-');
            let range =
                range.map(|(from, to)| (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16)));
            if let Some((Ok(from), Ok(to))) = range {
                inside = (from..to).contains(&address);
            } else if let (true, Some(flags)) = (inside, line.strip_prefix("VmFlags:")) {
                return flags.split_whitespace().map(str::to_owned).collect();
            }
        }
        panic!("{address:x} is not mapped")
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn large_blocks_ask_for_huge_pages_only_where_told() {
        // A kernel without huge pages knows no such flag.
        if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage/enabled").exists() {
            return;
        }
        for (paging, asks) in [(Paging::Ordinary, false), (Paging::Huge, true)] {
            let block: Block<u8> = Block::zeroed(8 << 20, paging);
            let flags = flags_of(block.as_ptr().addr());
            assert_eq!(flags.iter().any(|flag| flag == "hg" || flag == "ht"), asks, "{paging:?}: {flags:?}");
        }
    }

    /// The mode of the calling thread's memory policy, or of that at an address, and the nodes that it names.
    #[cfg(target_os = "linux")]
    fn policy(at: Option<NonNull<u8>>) -> io::Result<(libc::c_int, [u64; NODES_MAX as usize / 64])> {
        const AT_ADDRESS: libc::c_ulong = 1 << 1;
        let (mut mode, mut mask) = (0, mask_of(&[]));
        let (address, flags) = at.map_or((std::ptr::null_mut(), 0), |at| (at.as_ptr(), AT_ADDRESS));
        // SAFETY: there is room for the mode, and for as many bits as the call is told.
        let result = unsafe {
            let mode = &raw mut mode;
            libc::syscall(
                libc::SYS_get_mempolicy,
                mode,
                mask.as_mut_ptr(),
                u64::from(NODES_MAX),
                address,
                flags,
            )
        };
        if result == 0 { Ok((mode, mask)) } else { Err(io::Error::last_os_error()) }
    }

    /// The first number of a list in the status of the calling thread.
    #[cfg(target_os = "linux")]
    fn first_allowed(list: &str) -> u32 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let list = status.lines().find_map(|line| line.strip_prefix(list)).unwrap();
        list.trim().split([',', '-']).next().unwrap().parse().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn threads_and_pages_go_where_they_are_told() {
        let thread = std::thread::spawn(|| {
            let (cpu, node) = (first_allowed("Cpus_allowed_list:"), first_allowed("Mems_allowed_list:"));
            pin_thread(&[cpu]).unwrap();
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            assert!(status.contains(&format!("Cpus_allowed_list:\t{cpu}\n")), "{status}");
            pin_thread(&[]).unwrap_err();
            match prefer_node(node) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
                    println!("skipped: this system does not let memory policies be set ({error})");
                    return;
                }
                other => other.unwrap(),
            }
            let preferred = (libc::MPOL_PREFERRED, mask_of(&[node]));
            assert_eq!(policy(None).unwrap(), preferred);
            let mut block: Block<u8> = Block::zeroed(8 << 20, Paging::Ordinary);
            place_pages(block.start, block.mapped_bytes, &[node]).unwrap();
            block.fill(7);
            assert_eq!(policy(Some(block.start)).unwrap(), preferred);
            place_pages(block.start, block.mapped_bytes, &[]).unwrap_err();
        });
        thread.join().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn blocks_lie_in_the_files_that_are_lent() {
        let folder = std::env::temp_dir().join(format!("engram-blocks-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("file");
        let own = file.clone();
        let open = move || {
            let file = File::options().read(true).write(true).create_new(true).open(&own)?;
            std::fs::remove_file(&own)?;
            Ok(file)
        };
        let files = BlockFiles { open: Box::new(open), note: Box::new(|outcome| outcome.unwrap()) };
        for (paging, len) in [(Paging::Ordinary, 0), (Paging::Ordinary, 3), (Paging::Huge, 5 << 20)] {
            let mut block: Block<u32> = files.block(len, paging);
            assert_eq!(block.len(), len);
            assert!(len == 0 || block.as_ptr().addr().is_multiple_of(LINE_BYTES));
            assert!(block.iter().all(|&number| number == 0));
            block.fill(7);
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            let line = maps.lines().find(|line| line.contains(file.to_str().unwrap()));
            let starts_here = |line: &str| line.starts_with(&format!("{:x}-", block.as_ptr().addr()));
            assert_eq!(line.is_some_and(starts_here), len > 0, "{line:?}");
        }
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!maps.contains(file.to_str().unwrap()), "what is dropped gives its room back");
        std::fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn a_block_that_no_file_has_room_for_lies_in_the_memory_of_the_process() {
        let refused = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = refused.clone();
        let note = move |outcome: io::Result<()>| {
            assert!(outcome.is_err());
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        type Open = Box<dyn Fn() -> io::Result<File> + Send + Sync>;
        let file = |bytes: u64, has_name: bool| -> Open {
            let path = std::env::temp_dir().join(format!("engram-block-{}", std::process::id()));
            Box::new(move || {
                let file = File::options().read(true).write(true).create_new(true).open(&path)?;
                file.set_len(bytes)?;
                if !has_name {
                    std::fs::remove_file(&path)?;
                }
                Ok(file)
            })
        };
        // Others may have the one with bytes in it, and open the one with a name.
        let none: Open = Box::new(|| Err(io::ErrorKind::StorageFull.into()));
        for open in [none, file(1, false), file(0, true)] {
            let files = BlockFiles { open, note: Box::new(note.clone()) };
            let mut block: Block<u32> = files.block(1000, Paging::Ordinary);
            block.fill(7);
        }
        assert_eq!(refused.load(std::sync::atomic::Ordering::Relaxed), 3);
        std::fs::remove_file(std::env::temp_dir().join(format!("engram-block-{}", std::process::id())))
            .unwrap();
    }

    #[test]
    fn blocks_are_zeroed_aligned_and_of_the_length_asked_for() {
        for paging in [Paging::Ordinary, Paging::Huge] {
            assert!(Block::<u32>::zeroed(0, paging).is_empty());
            for len in [1, 17, 1 << 20, (1 << 20) + 1, 3 << 20] {
                let mut block: Block<u32> = Block::zeroed(len, paging);
                assert_eq!(block.len(), len);
                assert_eq!(block.as_ptr().addr() % LINE_BYTES, 0);
                assert!(block.iter().all(|&number| number == 0));
                block.fill(7);
                assert!(block.iter().all(|&number| number == 7));
                if paging == Paging::Huge && block.mapped_bytes > 0 {
                    assert_eq!(block.as_ptr().addr() % HUGE_PAGE_BYTES, 0);
                }
            }
        }
    }
}
