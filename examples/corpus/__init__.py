"""The seeded generator of the synthetic corpus that ships with dialsum."""
