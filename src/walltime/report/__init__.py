"""Results for people: files, charts, pages and terminal text. No numbers of their own."""
