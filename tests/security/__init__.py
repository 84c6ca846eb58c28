"""What a place must stand that strangers on the internet are let near."""
