-- The tables stay as they are. Programs that know this step read by log.read_page, log.read_matching_page and
-- log.evidence_page, which were not there before.
SELECT 1;
