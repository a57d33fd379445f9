//! RocksDB's knobs, set for a few megabytes of metadata in a daemon that must stay small.

use rocksdb::{BlockBasedOptions, Cache, DBRecoveryMode, LogLevel, Options, ReadOptions, WriteOptions};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// For the database as a whole.
pub fn database() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    // A torn tail is what a crash leaves; our own scan of the log has told it from damage before RocksDB reads it.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_enable_pipelined_write(true);
    // All tables share this; the largest is written out when it is full.
    options.set_db_write_buffer_size(MIB);
    options.set_max_total_wal_size(4 * MIB as u64);
    options.set_max_background_jobs(2);
    options.set_max_open_files(64);
    options.set_max_file_opening_threads(1);
    options.set_table_cache_num_shard_bits(0);
    options.set_skip_stats_update_on_db_open(true);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_max_manifest_file_size(MIB);
    options.set_manifest_preallocation_size(64 * KIB);
    options.set_writable_file_max_buffer_size(64 * KIB as u64);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(256 * KIB);
    options.set_keep_log_file_num(2);
    options
}

/// For one table. `cache` is shared by all.
pub fn table(cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_block_size(4 * KIB);
    blocks.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_write_buffer_size(256 * KIB);
    options.set_arena_block_size(8 * KIB);
    options.set_max_write_buffer_number(2);
    options.set_target_file_size_base(4 * MIB as u64);
    options.set_max_bytes_for_level_base(16 * MIB as u64);
    options
}

pub fn cache() -> Cache {
    Cache::new_lru_cache(MIB)
}

/// Acknowledged means synced.
pub fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

/// Handed to the kernel: a kill of this process does not lose it.
pub fn unsynced() -> WriteOptions {
    WriteOptions::default()
}

/// For scans of everything: no block pushes another out of the cache.
pub fn scan(verify: bool) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_verify_checksums(verify);
    options
}
