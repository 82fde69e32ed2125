//! Memory straight from the platform: zeroed blocks that start on a cache line, and large ones on huge pages where asked.
#![expect(
    unsafe_code,
    reason = "allocation and the platform's own calls; a block behaves like a boxed slice"
)]

use bytemuck::Pod;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// What a block starts at a multiple of, in bytes.
const LINE_BYTES: usize = 64;

/// A huge page of `x86_64`, and of aarch64 with pages of 4 KiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;

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

/// A block of zeros at first, of a fixed length. Untouched pages of a large one take no memory.
pub(crate) struct Block<T> {
    start: NonNull<T>,
    len: usize,
    /// Bytes of its own mapping; 0 if it comes from the allocator.
    mapped_bytes: usize,
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
            return Self { start: start.cast(), len, mapped_bytes };
        }
        if layout.size() == 0 {
            return Self { start: NonNull::dangling(), len, mapped_bytes: 0 };
        }
        // SAFETY: the size is not zero.
        let Some(start) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        Self { start: start.cast(), len, mapped_bytes: 0 }
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
    // SAFETY: the range is ours; advice changes nothing that can be seen. Where it is not taken, pages are ordinary.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
    }
    Some((start, bytes))
}

#[cfg(not(unix))]
fn map(_: usize, _: Paging) -> Option<(NonNull<u8>, usize)> {
    None
}

#[cfg(unix)]
fn unmap(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the range is part of a mapping of ours, and is not used any more.
    let result = unsafe { libc::munmap(start.as_ptr().cast(), bytes) };
    debug_assert_eq!(result, 0, "whole huge pages of a mapping of ours");
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
