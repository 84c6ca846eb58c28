"""What is written into a downloaded file about its generation, and read back from an uploaded one.

Files are never decoded or encoded for it: a rewritten file is a list of parts, most of them ranges of the stored file, so that a
video of any size is streamed. Each format has a module that finds the XMP packet of a file, and says which parts a file with or
without metadata has.
"""
