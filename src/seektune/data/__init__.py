"""From files to tokens: `inputs` (which files, which encoding), `readers` (bytes to rows), `turns` and `shapes` (rows to
records), `formats` (every row checked), `store` (records on disk), `split`, `fingerprint`; then `chat` (the one renderer),
`tokens` and `pack`. `prepare` walks all of it; `options` is the part of a recipe that says how."""
