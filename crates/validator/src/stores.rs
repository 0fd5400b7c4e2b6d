//! Say how a validator's blocks, certificates and state lie on its disk, for the engine and for who reads them later.

use commonware_parallel::Sequential;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_storage::{
    archive::prunable,
    journal::contiguous::fixed::Config as LogConfig,
    mmr::full::Config as MmrConfig,
    qmdb::current::FixedConfig,
    translator::{EightCap, TwoCap},
};
use commonware_utils::{NZU16, NZU64, NZUsize};
use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::Arc,
};
use tessera_chain::{Block, BlockDigest, Finalization};

/// Size of read and write buffers.
pub(crate) const BUFFER: NonZeroUsize = NZUsize!(1 << 15);
/// Blocks in one file of the store: what is dropped at once.
const BLOCKS_IN_FILE: NonZeroU64 = NZU64!(256);
/// Prefix of the names of a real validator's stores.
pub(crate) const NAME: &str = "validator";

/// Final blocks by height and digest.
pub(crate) type Blocks<E> = prunable::Archive<TwoCap, E, BlockDigest, Arc<Block>>;
/// Their certificates; a block may have none of its own.
pub(crate) type Finalizations<E> = prunable::Archive<TwoCap, E, BlockDigest, Finalization>;
/// Configuration of the state's store.
pub(crate) type StateConfig = FixedConfig<EightCap, Sequential>;

/// Pages of files kept in memory.
pub(crate) fn cache() -> CacheRef {
    CacheRef::new(NZU16!(4096), NZUsize!(1024))
}

/// Where blocks (`kind` "blocks") or their certificates ("finalizations") lie.
pub(crate) fn archive(name: &str, kind: &str, cache: &CacheRef) -> prunable::Config<TwoCap, ()> {
    prunable::Config {
        translator: TwoCap,
        metadata_partition: format!("{name}-{kind}-meta"),
        key_partition: format!("{name}-{kind}-key"),
        key_page_cache: cache.clone(),
        value_partition: format!("{name}-{kind}-val"),
        compression: None,
        codec_config: (),
        items_per_section: BLOCKS_IN_FILE,
        key_write_buffer: BUFFER,
        value_write_buffer: BUFFER,
        replay_buffer: BUFFER,
    }
}

/// Where the state lies.
pub(crate) fn state(name: &str, cache: &CacheRef) -> StateConfig {
    FixedConfig {
        merkle_config: MmrConfig {
            journal_partition: format!("{name}-mmr-journal"),
            metadata_partition: format!("{name}-mmr-meta"),
            items_per_blob: NZU64!(65_536),
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
            strategy: Sequential,
            page_cache: cache.clone(),
        },
        journal_config: LogConfig {
            partition: format!("{name}-log"),
            items_per_blob: NZU64!(16_384),
            page_cache: cache.clone(),
            write_buffer: BUFFER,
            replay_buffer: BUFFER,
        },
        grafted_metadata_partition: format!("{name}-grafted"),
        translator: EightCap,
        init_cache: Some(NZUsize!(1024)),
        init_buffer: NZUsize!(1 << 20),
        init_concurrency: (),
    }
}
