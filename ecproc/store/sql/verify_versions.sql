SELECT min(position)
FROM (
    SELECT
        position,
        version,
        prev,
        row_number() OVER of_stream AS expected,
        lag(position, 1, 0) OVER of_stream AS before
    FROM event
    WINDOW of_stream AS (PARTITION BY stream ORDER BY position)
)
WHERE version <> expected OR prev <> before
