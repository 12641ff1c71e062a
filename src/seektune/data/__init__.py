"""From files to tokens: `readers` (bytes to rows), `shapes` and `turns` (rows to records), `formats` (every row checked),
`store` (records on disk, memory-mapped), `split`, `fingerprint`; then `chat` (the one renderer), `tokens` and `pack`."""
