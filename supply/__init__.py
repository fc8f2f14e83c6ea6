"""What is in the images, and whether anything is known against it. No part of the product."""
