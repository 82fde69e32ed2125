//! Every bound of the model, in one place, so that no queue, loop or buffer grows without one.

/// Bytes of `content` of one memory, and of the text of a cue.
pub const CONTENT_BYTES_MAX: usize = 64 * 1024;
/// Components of an embedding.
pub const DIMENSIONS_MAX: usize = 4096;
/// Characters of a memory's id.
pub const ID_CHARS_MAX: usize = 128;
/// Characters of a space's name.
pub const SPACE_NAME_CHARS_MAX: usize = 64;
/// Bytes of a context's name, of one entity, and of a link's kind.
pub const NAME_BYTES_MAX: usize = 512;
/// Entities that a caller may give for one memory.
pub const ENTITIES_MAX: usize = 256;
/// Explicit links of one memory.
pub const LINKS_MAX: usize = 1024;
/// Bytes of the metadata of one memory, as JSON.
pub const METADATA_BYTES_MAX: usize = 64 * 1024;
/// How deep metadata may nest.
pub const NESTING_MAX: usize = 16;
/// Hits that one recall may ask for.
pub const LIMIT_MAX: usize = 1000;
/// Hits of a recall that does not say.
pub const LIMIT_DEFAULT: usize = 10;
/// Conditions of one filter, over all its lists.
pub const FILTER_CONDITIONS_MAX: usize = 256;
/// Memory ids that one cue may name, and seeds that one activation may start from.
pub const CUE_IDS_MAX: usize = 1024;
/// Alternatives that one completion may ask for.
pub const ALTERNATIVES_MAX: usize = 100;
/// Alternatives of a completion that does not say.
pub const ALTERNATIVES_DEFAULT: usize = 3;
/// The sharpest that completion may weigh; beyond, one memory has all the weight in any case.
pub const BETA_MAX: f32 = 1000.0;
