SELECT min(position)
FROM (
    SELECT
        position,
        version,
        row_number() OVER of_stream AS expected,
        lag(position, 1, 0) OVER of_stream AS before
    FROM event
    WINDOW of_stream AS (PARTITION BY stream ORDER BY version)
)
WHERE version <> expected OR position < before
